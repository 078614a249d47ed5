"""glibc's malloc for activations on a CPU, which are large, short-lived and numerous.

By default glibc returns large blocks to the kernel when they are freed. To use such memory again costs a page fault for
every 4 KiB. A process that keeps freed memory samples up to a quarter faster at digits size, and trains a few percent
faster (bench/PERFORMANCE.md).
"""

import ctypes
import os
import platform

_VARIABLE = "GLIBC_TUNABLES"
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3), with the largest values that they take
_MOST = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_THRESHOLD: 2**30}
_kept = False


def keep_freed_memory() -> None:
    """Have malloc keep what is freed, in this process; nothing without glibc, or where the user has set tunables."""
    global _kept
    if platform.libc_ver()[0] == "glibc" and _VARIABLE not in os.environ:
        libc = ctypes.CDLL(None)
        _kept = all(libc.mallopt(parameter, value) == 1 for parameter, value in _MOST.items())


def malloc_setting() -> str:
    """How malloc is set in this process: the user's tunables, or "keeps freed memory"; empty for glibc's defaults."""
    return os.environ.get(_VARIABLE, "keeps freed memory" if _kept else "")
