"""Whether a network can be compiled is asked by compiling; every kind of missing compiler is one line."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from torch._inductor import config, cpp_builder

from bench.machine import compiler, devices
from bench.machine.compiler import settled, why_not_compile
from bench.machine.execution import Execution
from bench.spec.arguments import Running
from bench.system.errors import BadInputError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def unasked():
    why_not_compile.cache_clear()
    yield
    why_not_compile.cache_clear()


@pytest.fixture
def named():
    """Lets torch take another C++ compiler, as $CXX does when torch starts: named("g++-99")."""
    with ExitStack() as stack:

        def name(cxx):
            stack.enter_context(config.patch({"cpp.cxx": (None, str(cxx))}))
            cpp_builder.cpp_compiler_search.cache_clear()

        yield name
    cpp_builder.cpp_compiler_search.cache_clear()


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_compiler_that_is_not_there_is_one_line(named):
    named("g++-99")
    with pytest.raises(
        BadInputError, match=r"^--compile on: torch cannot compile here \(.*g\+\+-99.*\); install g\+\+"
    ) as e:
        Running(device="cpu", compile="on").chosen()
    assert "\n" not in str(e.value)


def test_a_compiler_that_fails_is_one_line_with_its_own_words(named, tmp_path):
    """It answers to --version as a working one would."""
    complains = 'echo "x.cpp:1: fatal error: omp.h: No such file" >&2; exit 1'
    named(script(tmp_path / "g++", f'case "$*" in *--version*) echo "g++ 12.2.0";; *) {complains};; esac'))
    with pytest.raises(BadInputError, match=r"\(x\.cpp:1: fatal error: omp\.h: No such file\)"):
        Running(device="cpu", compile="on").chosen()


def test_it_is_asked_once_and_only_where_it_matters(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: asked.append(1) or function)
    Running(device="cpu").chosen()
    assert asked == []
    for _ in range(2):
        _, execution = Running(device="cpu", compile="on").chosen()
    assert (asked, execution.compiled) == ([1], True)


def test_triton_without_a_c_compiler_is_one_line(monkeypatch):
    """What Triton raises on a GPU where there is neither gcc nor clang."""
    words = "Failed to find C compiler. Please specify via CC environment variable or set triton.knobs.build.impl."

    def fails(*arguments, **options):
        def compiled(x):
            raise RuntimeError(f"InductorError: RuntimeError: {words}\n\nSet TORCHDYNAMO_VERBOSE=1 for more")

        return compiled

    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(devices, "pick_device", lambda name: gpu)
    monkeypatch.setattr(torch, "compile", fails)
    monkeypatch.setattr(torch, "zeros", lambda size, device: None)
    with pytest.raises(BadInputError, match=r"Failed to find C compiler\. .*; install gcc, let CC name a C compiler"):
        Running(compile="on").chosen()


def test_each_rank_asks_its_own_gpu(monkeypatch):
    asked = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "compile", lambda function, **options: lambda x: None)
    monkeypatch.setattr(torch, "zeros", lambda size, device: asked.append(device))
    assert compiler.why_not_compile(torch.device("cuda")) == ""
    assert asked == [torch.device("cuda", 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cxx", "hidden"),
    [("g++-99", ""), ("", "g++")],
    ids=["named but not there", "only clang"],
)
def test_a_training_that_cannot_compile_ends_before_it_starts(cxx, hidden, tmp_path):
    environment = {**os.environ, "CXX": cxx} if cxx else {k: v for k, v in os.environ.items() if k != "CXX"}
    if hidden:  # a folder with everything but g++
        for folder in ("/usr/local/bin", "/usr/bin", "/bin"):
            for tool in Path(folder).iterdir() if Path(folder).is_dir() else ():
                if not tool.name.startswith(hidden) and not (tmp_path / "bin" / tool.name).exists():
                    (tmp_path / "bin").mkdir(exist_ok=True)
                    (tmp_path / "bin" / tool.name).symlink_to(tool)
        script(tmp_path / "bin" / "clang++", 'exec g++ "$@"')
        environment["PATH"] = str(tmp_path / "bin")
    results = tmp_path / "results"
    command = [sys.executable, "bench/train.py", "--models", "dit", "--train-steps", "2", "--compile", "on"]
    result = subprocess.run(
        [*command, "--results", str(results)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: --compile on: torch cannot compile here (")
    assert not results.exists()


@pytest.mark.parametrize(
    ("compiled", "device", "seconds", "works", "expected"),
    [
        (None, "cpu", 20, True, True),
        (None, "cpu", 19, True, False),
        (None, "cpu", None, True, False),
        (None, "cpu", 100, False, False),
        (None, "cuda", 100, True, False),
        (True, "cuda", 1, False, True),
        (False, "cpu", 100, True, False),
    ],
)
def test_auto_compiles_trainings_by_the_clock_on_a_cpu(monkeypatch, compiled, device, seconds, works, expected):
    monkeypatch.setattr(compiler, "why_not_compile", lambda device: "" if works else "no compiler")
    execution = Execution(compiled, micro_batch=3)
    assert settled(execution, torch.device(device), seconds) == Execution(expected, micro_batch=3)


def test_auto_runs_where_nothing_can_be_compiled(named):
    named("g++-99")
    device, execution = Running(device="cpu").chosen()
    assert settled(execution, device, 100) == Execution()
