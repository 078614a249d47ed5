"""Evidence: records as tables, paired comparisons and their intervals."""
