"""Settings of glibc's malloc for activations on a CPU, which are large, short-lived and numerous.

By default glibc returns large blocks to the kernel when they are freed, and using such memory again costs a page fault
for every 4 KiB. With these tunables glibc keeps the blocks, on huge pages. At digits size this saves a tenth to a fifth
of a training step and a third of sampling. glibc reads tunables when a process starts, so a command restarts itself
once with them set. Nothing happens without glibc, or where the user has set tunables.
"""

import os
import platform
import sys

VARIABLE = "GLIBC_TUNABLES"
TUNABLES = ":".join(
    (
        "glibc.malloc.hugetlb=1",
        "glibc.malloc.mmap_threshold=1073741824",
        "glibc.malloc.trim_threshold=4294967296",
        "glibc.malloc.top_pad=67108864",
    )
)


def restart_with_tuned_malloc() -> None:
    """Replace this process by the same command with malloc tuned; at most once."""
    if platform.libc_ver()[0] != "glibc" or VARIABLE in os.environ:
        return
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: TUNABLES})
