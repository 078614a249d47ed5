"""Specifications: suites, contenders, cells, grids, accounts.

Plain data, importable without torch; nothing here reads a file.
"""
