"""Claims: the paper's statements, the rules that test them, and their verdicts."""
