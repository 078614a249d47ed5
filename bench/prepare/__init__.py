"""Preparation of datasets: images -> latents, reference statistics, feature extractors."""
