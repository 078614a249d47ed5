"""Solvers of z = f(z): plain, tolerance-based and accelerated iteration for sampling, unrolled iteration for training.

Read `solvers` first. A solver is called with (f, z0) and returns a `Solution`.
"""
