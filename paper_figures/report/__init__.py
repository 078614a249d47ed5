"""The report: one page with verdicts, figures, tables and the records behind every number, without other files."""
