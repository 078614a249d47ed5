"""Comparing two saved benchmark runs; the benchmark suite itself, at a size that takes a moment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.benchmarks.__main__ import main as bench
from bench.benchmarks.__main__ import saved_runs
from bench.benchmarks.cases import SIZES, cases, networks_of
from bench.benchmarks.compare import find_last, read
from bench.system.errors import BadInputError

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {"device": "cpu", "hardware": "A, 2 cores", "threads": 2, "malloc": "", "commit": "0123456789abcdef"}


@pytest.fixture
def save(tmp_path):
    """Writes a run of medians in seconds by benchmark, as pytest-benchmark would: save(1, {...}, threads=4)."""

    def write(number, medians, **environment):
        folder = tmp_path / "benchmarks" / "Linux"
        folder.mkdir(parents=True, exist_ok=True)
        names = ("min", "max", "mean", "median", "stddev", "ld15iqr", "hd15iqr", "q1", "q3")
        stats = {"iqr": 0.01, "ops": 1.0, "total": 1.0, "rounds": 10, "iterations": 1, "outliers": "0;0"}
        benchmarks = [
            {
                "group": "digits fp32, batch 125: one pass",
                "name": f"test_speed[{name}]",
                "fullname": f"bench/benchmarks/test_speed.py::test_speed[{name}]",
                "stats": stats | dict.fromkeys(names, median),
            }
            for name, median in medians.items()
        ]
        machine, ended = ENVIRONMENT | environment, f"2026-01-0{number}T00:00:00+00:00"
        path = folder / f"{number:04}_x.json"
        path.write_text(json.dumps({"machine_info": machine, "benchmarks": benchmarks, "datetime": ended}))
        return path

    return write


def compare(*files):
    return bench(["--compare", *map(str, files)])


def rows(text):
    """Numbers of the table by the name of each row."""
    lines = [line.split() for line in text.splitlines() if line.startswith("speed[")]
    return {line[0].removeprefix("speed[").removesuffix("]"): line[1:] for line in lines}


OLD = {"block-eager": 0.1, "block-compiled": 0.08, "iteration-eager": 0.2}
NEW = {"block-eager": 0.11, "block-compiled": 0.04, "iteration-eager": 0.3}


def test_the_table_has_both_medians_and_the_change_from_the_old_one(save, capfd):
    assert compare(save(1, OLD | {"only-old": 1.0}), save(2, NEW | {"only-new": 1.0})) == 0
    out = capfd.readouterr().out
    assert rows(out).keys() == NEW.keys()
    assert rows(out)["block-eager"][:3] == ["100.0000", "110.0000", "+10.0%"]
    assert rows(out)["block-compiled"][:3] == ["80.0000", "40.0000", "-50.0%"]
    assert "prev: 0001_x.json" in out
    assert "this: 0002_x.json" in out
    assert "ERROR" not in out


def test_the_last_run_on_the_same_hardware_is_found(save):
    runs = [
        save(1, {"block-eager": 0.4}),
        save(2, {"block-eager": 0.2}),
        save(3, {"block-eager": 0.1}, hardware="B"),
        save(4, {"block-eager": 0.1}, threads=1),
    ]
    assert find_last(runs, save(5, {"block-eager": 0.1})) == runs[1]


def test_a_run_of_one_benchmark_does_not_hide_the_one_before_it(save):
    runs = [save(1, OLD), save(2, {"block-eager": 1.0})]
    assert find_last(runs, save(3, NEW | {"stack-eager": 1.0})) == runs[0]


def test_a_first_run_has_nothing_to_be_compared_with(save):
    new = save(3, OLD)
    assert find_last([], new) is None
    assert find_last([save(1, OLD, hardware="B"), save(2, {"stack-eager": 1.0})], new) is None


@pytest.mark.parametrize("different", [{"hardware": "B"}, {"device": "cuda"}, {"threads": 1}, {"malloc": "tuned"}])
def test_runs_of_different_hardware_are_refused(save, different):
    with pytest.raises(BadInputError, match=rf"have different {next(iter(different))} .*: compare runs of the same"):
        compare(save(1, OLD), save(2, NEW, **different))


def test_bad_input_is_one_line(tmp_path, save):
    good, other = save(1, OLD), save(2, {"stack-eager": 1.0})
    broken = tmp_path / "broken.json"
    for text in ("{", "[]", '{"benchmarks": []}', good.read_text().replace("fullname", "name")):
        broken.write_text(text)
        with pytest.raises(BadInputError, match=r"broken.json: not a saved run of `make bench`"):
            compare(good, broken)
    with pytest.raises(BadInputError, match=r"missing.json: .*No such file"):
        compare(good, tmp_path / "missing.json")
    with pytest.raises(BadInputError, match="--compare"):
        compare(good)
    with pytest.raises(BadInputError, match="no benchmark in common"):
        compare(good, other)
    with pytest.raises(BadInputError, match="--sizes huge: unknown"):
        bench(["--sizes", "huge", "--results", str(tmp_path)])


def test_the_command_line_refuses_with_status_2(save):
    command = [sys.executable, "-m", "bench.benchmarks", "--compare", save(1, OLD), save(2, OLD, hardware="B")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


def test_every_pair_of_twins_is_timed_once_in_each_way():
    for size in SIZES:
        for cell in networks_of(size, "cpu", ("fp32", "bf16")):
            names = [(case.part, case.mode) for case in cases(cell)]
            assert len(names) == len(set(names))
            for budget in cell.budgets:
                for part in (f"dit {budget}", f"fpdm {budget} k=5"):
                    assert {(part, "eager"), (part, "compiled")} <= set(names)
    assert {case.mode for case in cases(networks_of("digits", "cpu", ("fp32",), compiled=False)[0])} == {"eager"}
    assert networks_of("xl_2", "cpu", ("fp32",))[0].budgets == (140,)
    assert networks_of("xl_2", "cuda", ("fp32",))[0].batch_size == 64


def test_the_suite_compares_what_it_saved_with_the_last_run(tmp_path, save, capfd, monkeypatch):
    monkeypatch.setattr("bench.benchmarks.__main__._time", lambda arguments: save(1, OLD) and 0)
    assert bench(["--device", "cpu", "--results", str(tmp_path)]) == 0
    assert "nothing to compare 0001_x.json with" in capfd.readouterr().out
    monkeypatch.setattr("bench.benchmarks.__main__._time", lambda arguments: save(2, NEW) and 0)
    assert bench(["--device", "cpu", "--results", str(tmp_path)]) == 0
    assert rows(capfd.readouterr().out)["block-eager"][2] == "+10.0%"


@pytest.mark.slow
def test_the_suite_runs_and_saves(tmp_path):
    command = [sys.executable, "-m", "bench.benchmarks", "--sizes", "tiny", "--device", "cpu"]
    command += ["--only", "fp32 and eager and (block or plain or 28)", "--results", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = saved_runs(tmp_path)
    saved = json.loads(path.read_text())
    expected = {"block", "bare block", "plain iteration", "plain stack", "plain fpdm training step"}
    expected |= {"dit 28", "fpdm 28 k=5"}
    assert {benchmark["params"]["part"] for benchmark in saved["benchmarks"]} == expected
    assert all(f"speed[tiny-fp32-{part}-eager]" in result.stdout for part in expected)
    assert saved["machine_info"]["hardware"] == read(path)["hardware"]["hardware"]
    assert saved["machine_info"]["threads"] == 1
    assert "node" not in saved["machine_info"]
    assert path.stat().st_size / len(expected) < 2000  # bytes: summaries, no raw data
