"""Solving z = f(z): plain and accelerated iteration for sampling, unrolled iteration for training."""
