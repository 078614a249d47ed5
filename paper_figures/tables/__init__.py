"""The paper's tables, and how tables are written."""
