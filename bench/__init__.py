"""The harness: suites, grids and cells; equal-wall-clock training; one cell -> one record."""
