"""Evaluation: one cell -> one record; worker processes, plans and progress."""
