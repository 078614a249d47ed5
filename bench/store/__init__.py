"""Results on disk: records, training summaries, partial work, identities of references."""
