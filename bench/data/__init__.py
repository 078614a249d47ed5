"""Datasets: images and latents -> tensors and training batches, one module per source."""
