"""The operating system: processes, locks, signals, files, errors, command lines."""
