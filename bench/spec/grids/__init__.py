"""Grids: a suite and a selection -> cells. Pure enumeration, importable without torch, datasets or weights.

A grid is one function with the decorator `registry.grid`, in a module that `catalogue.py` imports.
"""
