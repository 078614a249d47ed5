"""Figures and tables that the paper does not have."""
