"""How often progress is shown."""

import sys


def interval_s() -> float:
    """Seconds between two updates of a progress bar on standard error: a log file wants fewer lines than a screen."""
    return 0.5 if sys.stderr.isatty() else 20.0
