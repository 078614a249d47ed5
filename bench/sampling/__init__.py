"""Sampling: the images of a cell by a trained network, and their cost."""
