"""Sampling: a trained run and a cell -> images and what they cost."""
