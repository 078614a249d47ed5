"""Huge pages for a CPU's activations: training streams them through memory, and small pages cost it about a fifth.

glibc reads its tunables when a process starts, so the command line starts itself once more with them set. Elsewhere,
and where the user has set tunables, nothing happens.
"""

import os
import platform
import sys

VARIABLE, TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"


def restart_with_huge_pages() -> None:
    """Replace this process by the same command with transparent huge pages in malloc; at most once."""
    if platform.libc_ver()[0] != "glibc" or VARIABLE in os.environ:
        return
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: TUNABLE})
