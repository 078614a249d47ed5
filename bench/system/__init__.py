"""The machine: devices, processes, locks, signals, files, command lines, provenance of results."""
