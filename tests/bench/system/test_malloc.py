import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Python frees 64 MiB and takes them again, ten times: page faults, setting
SCRIPT = """
import ctypes, resource
from bench.system.malloc import keep_freed_memory, malloc_setting
if {keep}: keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
for turn in range(11):
    if turn == 1: first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(64 << 20); libc.memset(block, 1, 64 << 20); libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first, malloc_setting(), sep=",")
"""


def faults(keep, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"} | variables
    command = [sys.executable, "-c", SCRIPT.format(keep=keep)]
    root = Path(__file__).parents[3]
    output = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout
    count, setting = output.strip().split(",")
    return int(count), setting


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_freed_memory_is_kept_unless_the_user_has_set_malloc():
    returned, default = faults(False)
    kept, setting = faults(True)
    assert returned > 10 * max(kept, 16)  # a fault for every 4 KiB, or for every 2 MiB on huge pages
    assert (default, setting) == ("", "keeps freed memory")
    tunables = "glibc.malloc.trim_threshold=131072"
    assert faults(True, GLIBC_TUNABLES=tunables)[1] == tunables
