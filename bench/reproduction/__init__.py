"""Reproduction: kept numbers against the same numbers made again, from kept weights or from trainings repeated."""
