"""What is kept on disk: records, training summaries, partial work, identities of references."""
