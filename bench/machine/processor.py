"""The processor, by what decides its speed: maker, family, model, stepping, and the instructions that libraries use.

A name such as "AMD EPYC" is that of several generations, whose matrix products differ by a factor of two.
"""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy  # noqa: F401  its BLAS is loaded, whenever libraries are asked
import torch
from threadpoolctl import threadpool_info

CPUINFO = Path("/proc/cpuinfo")
EXTENSIONS = {"avx512_bf16": "BF16", "amx_tile": "AMX", "bf16": "BF16", "i8mm": "I8MM"}  # of x86, of Arm
LIMITS = (  # variables that keep libraries from instructions that the processor has
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
_OF_TORCH = {"MKL": r"Math Kernel Library Version ([\d.]+)", "oneDNN": r"MKL-DNN v([\d.]+)"}


@cache
def processor() -> dict[str, Any]:
    """The processor of this process, for records; None for what the system does not tell.

    `name`; `vendor`, `family`, `model`, `stepping`; `extensions` of `EXTENSIONS`; `instructions` of torch's own code;
    `blas`: library, version and, if it tells, the architecture that it chose; `limits`, those of `LIMITS` that are set.
    oneDNN and MKL do not tell what they chose: that follows from the rest.
    """
    try:
        cpuinfo = CPUINFO.read_text()
    except OSError:
        cpuinfo = ""
    return {
        **read_cpuinfo(cpuinfo),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "blas": _blas(),
        "limits": {name: os.environ[name] for name in LIMITS if name in os.environ},
    }


def read_cpuinfo(text: str) -> dict[str, Any]:
    """Name, numbers and extensions of the first processor of Linux's /proc/cpuinfo, of x86 or Arm."""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    said = {name.strip(): value.strip() for name, _, value in lines}
    numbers = [said.get(name) for name in ("vendor_id", "cpu family", "model", "stepping")]
    if "CPU implementer" in said:
        numbers = [said.get(f"CPU {name}") for name in ("implementer", "architecture", "part")]
        numbers.append(f"{said.get('CPU variant')}.{said.get('CPU revision')}")
    flags = said.get("flags", said.get("Features", "")).split()
    return {
        "name": said.get("model name") or said.get("cpu") or _name_elsewhere(),
        **dict(zip(("vendor", "family", "model", "stepping"), numbers, strict=True)),
        "extensions": [flag for flag in EXTENSIONS if flag in flags],
    }


def processor_name(found: Mapping[str, Any] | None = None) -> str:
    """The processor in a line: `AMD EPYC (AuthenticAMD-25-17-1, AVX512 BF16)`. By default, that of this process."""
    found = processor() if found is None else found
    numbers = [found[name] for name in ("vendor", "family", "model", "stepping") if found[name] is not None]
    uses = [found["instructions"], *dict.fromkeys(EXTENSIONS[flag] for flag in found["extensions"])]
    libraries = [] if any(one["library"] == "MKL" for one in found["blas"]) else found["blas"]
    chosen = {f"{one['library']} {one['architecture']}" for one in libraries if one["architecture"]}
    limits = (f"{name}={value}" for name, value in found["limits"].items())
    return f"{found['name']} ({', '.join(filter(None, ['-'.join(numbers), ' '.join(uses), *sorted(chosen), *limits]))})"


def _blas() -> list[dict[str, str | None]]:
    """The libraries of matrix products of torch and numpy. SciPy's is left out: it need not be loaded."""
    config = torch.__config__.show()
    versions = {name: match[1] for name, form in _OF_TORCH.items() if (match := re.search(form, config))}
    found = [(name, version, None) for name, version in versions.items()]
    for one in threadpool_info():
        if one["user_api"] == "blas" and {"scipy", "scipy.libs"}.isdisjoint(Path(one["filepath"]).parts):
            found.append((one["internal_api"], one["version"], one.get("architecture")))
    return [dict(zip(("library", "version", "architecture"), one, strict=True)) for one in dict.fromkeys(found)]


def _name_elsewhere() -> str:
    """Name where /proc/cpuinfo has none: macOS calls all of Apple's processors "arm" unless asked like this."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass
    return platform.processor() or platform.machine()
