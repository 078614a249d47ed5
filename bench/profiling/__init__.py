"""Seconds and bytes of training and sampling, measured or computed."""
