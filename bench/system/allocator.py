"""A malloc that suits a CPU's activations, which are large, short-lived and many.

By default glibc gives large blocks back to the kernel when they are freed, and touching them again costs a page fault
for every 4 KiB. These tunables make it keep them, on huge pages: measured at digits size, a tenth to a fifth of a
training step and a third of sampling. glibc reads them when a process starts, so the command line starts itself once
more with them set. Elsewhere, and where the user has set tunables, nothing happens.
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
