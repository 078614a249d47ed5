"""Our networks against the public code: the official DiT and the released FPDM, from checkouts that the user names."""
