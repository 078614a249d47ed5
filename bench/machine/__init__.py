"""The machine that runs the work: processors, devices, dtypes, memory, compilation, provenance of results."""
