"""How often progress bars are updated."""

import sys


def interval_s() -> float:
    """Seconds between two updates of a progress bar on standard error: fewer in a log file than on a screen."""
    return 0.5 if sys.stderr.isatty() else 20.0
