"""What is measured: quality, cost, time."""
