"""The processor's name, by which seconds are kept apart."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from bench.evaluation.calibration import check_hardware
from bench.machine import processor as module
from bench.machine.devices import hardware_name
from bench.machine.processor import processor, processor_name, read_cpuinfo
from bench.machine.provenance import ROOT, describe
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.prices import kept_prices, resolved
from bench.store.records import Store
from bench.system.errors import BadInputError

X86 = """\
processor	: 0
vendor_id	: {vendor}
cpu family	: {family}
model		: {model}
model name	: {name}
stepping	: {stepping}
flags		: fpu avx2 {flags}

processor	: 1
vendor_id	: another
"""
ARM = """\
processor	: 0
BogoMIPS	: 243.75
Features	: fp asimd sve {features}
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x1
CPU part	: {part}
CPU revision	: 1

"""
MKL = {"library": "MKL", "version": "2024.2", "architecture": None}


def x86(name="AMD EPYC", vendor="AuthenticAMD", family=25, model=17, stepping=1, flags="avx512f avx512_bf16"):
    return read_cpuinfo(X86.format(**locals()))


def named(found, instructions="AVX512", blas=(MKL,), limits=None):
    return processor_name(found | {"instructions": instructions, "blas": list(blas), "limits": limits or {}})


def test_generations_of_one_name_are_different_hardware():
    milan, genoa = x86(model=1, flags=""), x86(model=17)
    assert milan["name"] == genoa["name"] == "AMD EPYC"
    assert named(milan, "AVX2") == "AMD EPYC (AuthenticAMD-25-1-1, AVX2)"
    assert named(genoa) == "AMD EPYC (AuthenticAMD-25-17-1, AVX512 BF16)"


def test_whatever_changes_the_speed_changes_the_name():
    openblas = {"library": "openblas", "version": "0.3", "architecture": "Zen"}
    names = [
        named(x86()),
        named(x86(vendor="GenuineIntel")),
        named(x86(family=26)),
        named(x86(model=18)),
        named(x86(stepping=2)),
        named(x86(flags="avx512f")),  # hidden by a virtual machine
        named(x86(flags="avx512f avx512_bf16 amx_tile")),
        named(x86(), "AVX2"),
        named(x86(), limits={"ONEDNN_MAX_CPU_ISA": "AVX2"}),
        named(x86(), blas=[openblas]),
        named(x86(), blas=[openblas | {"architecture": "SkylakeX"}]),
    ]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 90  # captions print it


def test_numpy_s_blas_says_nothing_of_torch_that_has_mkl():
    openblas = {"library": "openblas", "version": "0.3", "architecture": "Zen"}
    assert named(x86(), blas=[MKL, openblas]) == named(x86())


def test_arm_processors_without_a_name_are_told_apart(monkeypatch):
    monkeypatch.setattr(module.platform, "processor", lambda: "aarch64")
    two, three = (
        read_cpuinfo(ARM.format(part=part, features=more)) for part, more in (("0xd0c", ""), ("0xd40", "bf16"))
    )
    blas = {"library": "openblas", "version": "0.3.29", "architecture": "neoversev1"}
    assert named(two, "DEFAULT", []) == "aarch64 (0x41-8-0xd0c-0x1.1, DEFAULT)"
    assert named(three, "SVE256", [blas]) == "aarch64 (0x41-8-0xd40-0x1.1, SVE256 BF16, openblas neoversev1)"


def test_a_mac_is_asked_for_its_name(monkeypatch):
    """Python calls an M1 and an M3 "arm"."""
    answer = subprocess.CompletedProcess([], 0, stdout="Apple M3 Pro\n")
    monkeypatch.setattr(module.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(module.subprocess, "run", lambda *arguments, **options: answer)
    found = read_cpuinfo("")
    assert found == dict.fromkeys(("vendor", "family", "model", "stepping")) | {
        "name": "Apple M3 Pro",
        "extensions": [],
    }
    assert named(found, "DEFAULT", []) == "Apple M3 Pro (DEFAULT)"


def test_a_system_that_tells_nothing_has_a_processor_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "none")
    found = processor.__wrapped__()
    assert found["vendor"] is found["model"] is None
    assert processor_name(found).startswith(found["name"])


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux only")
def test_the_processor_of_this_machine(cpu):
    found = processor()
    assert found["name"]
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert all(one["library"] and one["version"] for one in found["blas"])
    assert {"MKL", "openblas", "blis"} & {one["library"] for one in found["blas"]}
    environment = describe(cpu)
    assert environment["processor"] == json.loads(json.dumps(found)) == found
    assert environment["hardware"] == hardware_name(cpu)
    assert environment["hardware"].startswith(f"{processor_name()}, ")


def test_libraries_are_asked_the_same_whatever_else_is_loaded(monkeypatch):
    """SciPy brings an OpenBLAS of its own; environments must not depend on whether a cell has used it."""
    own = {"user_api": "blas", "internal_api": "openblas", "version": "0.3.31", "architecture": "Zen"}
    loaded = [
        own | {"filepath": "/venv/site-packages/numpy.libs/libscipy_openblas64_.so"},
        own | {"filepath": "/venv/site-packages/scipy.libs/libscipy_openblas.so", "version": "0.3.30"},
        own | {"filepath": "/venv/site-packages/scipy/.dylibs/libscipy_openblas.dylib", "version": "0.3.29"},
        {"user_api": "openmp", "internal_api": "openmp", "version": None, "filepath": "/venv/torch/lib/libgomp.so.1"},
    ]
    monkeypatch.setattr(module, "threadpool_info", lambda: loaded)
    monkeypatch.setattr(torch.__config__, "show", lambda: "- BLAS_INFO=open")
    blas = processor.__wrapped__()["blas"]
    assert blas == [{"library": "openblas", "version": "0.3.31", "architecture": "Zen"}]


def test_variables_that_limit_instructions_are_recorded(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = processor.__wrapped__()
    assert found["limits"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in processor_name(found)


def test_prices_of_another_processor_are_refused(cpu, monkeypatch):
    """Kept seconds are those of one processor: cells that take as many steps as they allow are evaluated there."""
    store, suite = Store(ROOT / "results", "digits"), get_suite("digits")
    prices = kept_prices(store, suite)
    assert prices.hardware.startswith("AMD EPYC (AuthenticAMD-26-2-1, ")
    cells = get_cells("accounts", suite, resolved(Selection(seeds=(0,)), store, suite))
    monkeypatch.setattr("bench.evaluation.calibration.hardware_name", lambda device: "abacus")
    with pytest.raises(BadInputError, match=r"seconds were calibrated on AMD EPYC \(.*\), 2 cores, this is abacus"):
        check_hardware(cells, suite, prices, "cpu")
