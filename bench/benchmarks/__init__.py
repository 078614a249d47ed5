"""The benchmark suite: `make bench`. Nothing here asserts a time."""
