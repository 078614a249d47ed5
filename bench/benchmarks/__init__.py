"""The pytest-benchmark suite of `make bench`. It measures times and asserts none."""
