"""Preparation of datasets: images -> latents, reference statistics, feature extractors.

Long work is cut into shards, which any number of processes share.
"""
