"""Networks: blocks, embedders, DiT and FPDM, and how they are compiled and checkpointed."""
