"""Peak memory of a piece of work: of the process on the host, and of tensors on a CUDA device."""

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

GIB = 2**30
_PROCESS = Path("/proc/self")


class PeakMemory:
    """Peak since this object was made; on the host since the process started, if the kernel cannot reset it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with suppress(OSError, AttributeError, TypeError):  # glibc keeps memory that earlier work has freed
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")  # proc(5): resets the peak of the resident set
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> dict[str, float]:
        """`host_peak_gib`, what was resident, libraries included; on CUDA `device_peak_gib`, what tensors held."""
        peaks = {"host_peak_gib": _resident_bytes() / GIB}
        if self._device.type == "cuda":
            peaks["device_peak_gib"] = torch.cuda.max_memory_allocated(self._device) / GIB
        return peaks


def _resident_bytes() -> int:
    try:
        status = (_PROCESS / "status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
