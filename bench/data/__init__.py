"""Datasets: image files and latents -> tensors and training batches.

Each dataset has one module here and one registration in `bench.spec.datasets`.
"""
