"""Two saved benchmark runs as ratios; the suite itself, at a size that takes a moment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.benchmarks.__main__ import main as bench
from bench.benchmarks.cases import SIZES, cases, twins_of
from bench.benchmarks.compare import main, saved_runs
from bench.system.errors import BadInputError

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {"device": "cpu", "hardware": "A, 2 cores", "threads": 2, "malloc": "", "commit": "0123456789abcdef"}


@pytest.fixture
def save(tmp_path):
    """Writes a run of medians in seconds by (part, mode), as pytest-benchmark would: save(1, {...}, threads=4)."""

    def write(number, medians, **environment):
        folder = tmp_path / "benchmarks" / "Linux"
        folder.mkdir(parents=True, exist_ok=True)
        benchmarks = [
            {
                "params": {"twins": "digits fp32, batch 125", "part": part, "mode": mode, "cell": "0"},
                "stats": {"median": s, "iqr": s / 10},
            }
            for (part, mode), s in medians.items()
        ]
        machine, ended = ENVIRONMENT | environment, f"2026-01-0{number}T00:00:00+00:00"
        path = folder / f"{number:04}_x.json"
        path.write_text(json.dumps({"machine_info": machine, "benchmarks": benchmarks, "datetime": ended}))
        return path

    return write


def compare(tmp_path, *arguments):
    return main([*map(str, arguments), "--results", str(tmp_path)])


def rows(text):
    """Cells of the table by the first of each row."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines}


OLD = {("block", "eager"): 0.1, ("block", "compiled"): 0.08, ("iteration", "eager"): 0.2, ("product", "eager"): 0.01}
NEW = {("block", "eager"): 0.11, ("block", "compiled"): 0.04, ("iteration", "eager"): 0.3, ("product", "eager"): 0.02}


def test_ratios_are_new_medians_over_old_ones(tmp_path, save, capsys):
    assert compare(tmp_path, save(1, OLD), save(2, NEW)) == 0
    out = capsys.readouterr().out
    assert rows(out)["digits fp32, batch 125"] == ["eager, ms", "new/old", "compiled, ms", "new/old"]
    assert rows(out)["block"] == ["110 ± 5%", "1.10", "40 ± 5%", "0.50"]
    assert rows(out)["iteration"][:2] == ["300 ± 5%", "1.50"]
    assert "median ratio 1.10 of 3." in out  # the product, 2.00, is the machine's
    assert "which only the machine and `models/networks/linear.py` change: 2.00" in out
    worst = next(line for line in out.splitlines() if line.startswith("Worst"))
    assert [entry.split()[-1].rstrip(".") for entry in worst.split("; ")] == ["1.50", "1.10", "0.50"]


def test_the_last_run_is_compared_with_the_one_before_it_on_the_same_hardware(tmp_path, save, capsys):
    save(1, {("block", "eager"): 0.4})
    save(2, {("block", "eager"): 0.2})
    save(3, {("block", "eager"): 0.1}, hardware="B")
    save(4, {("block", "eager"): 0.1}, threads=1)
    save(5, {("block", "eager"): 0.1})
    assert compare(tmp_path) == 0
    out = capsys.readouterr().out
    assert "Run 0005 (commit 0123456789) over run 0002" in out
    assert rows(out)["block"][1] == "0.50"


def test_a_run_of_one_benchmark_does_not_hide_the_one_before_it(tmp_path, save, capsys):
    save(1, OLD)
    save(2, {("block", "eager"): 1.0})
    save(3, NEW | {("stack", "eager"): 1.0})
    assert compare(tmp_path) == 0
    out = capsys.readouterr().out
    assert "over run 0001" in out
    assert "Only in run 0003 (commit 0123456789): 1 benchmarks." in out
    assert rows(out)["stack"][1] == ""


def test_a_first_run_has_nothing_to_be_compared_with(tmp_path, save, capsys):
    save(1, OLD, hardware="B")
    save(2, OLD)
    assert compare(tmp_path) == 0
    assert "nothing to compare run 0002" in capsys.readouterr().out


@pytest.mark.parametrize("different", [{"hardware": "B"}, {"device": "cuda"}, {"threads": 1}, {"malloc": "tuned"}])
def test_runs_of_different_hardware_are_refused_unless_told(tmp_path, save, different, capsys):
    old, new = save(1, OLD), save(2, NEW, **different)
    with pytest.raises(BadInputError, match=rf"different {next(iter(different))} .*--any-hardware"):
        compare(tmp_path, old, new)
    assert compare(tmp_path, old, new, "--any-hardware") == 0
    assert rows(capsys.readouterr().out)["block"][1] == "1.10"


def test_bad_input_is_one_line(tmp_path, save):
    good, other = save(1, OLD), save(2, {("stack", "eager"): 1.0})
    broken = tmp_path / "broken.json"
    for text in ("{", "[]", '{"benchmarks": []}', good.read_text().replace("0.1,", "0,")):
        broken.write_text(text)
        with pytest.raises(BadInputError, match=r"broken.json: not a run of `make bench`"):
            compare(tmp_path, good, broken)
    with pytest.raises(BadInputError, match=r"missing.json: no such file"):
        compare(tmp_path, good, tmp_path / "missing.json")
    with pytest.raises(BadInputError, match="1 runs given"):
        compare(tmp_path, good)
    with pytest.raises(BadInputError, match="no benchmark in common"):
        compare(tmp_path, good, other)
    with pytest.raises(BadInputError, match="no saved runs"):
        compare(tmp_path / "empty")
    with pytest.raises(BadInputError, match="--sizes huge: unknown"):
        bench(["--sizes", "huge", "--results", str(tmp_path)])


def test_the_command_line_refuses_with_status_2(tmp_path, save):
    command = [sys.executable, "bench/benchmarks/compare.py", save(1, OLD), save(2, OLD, hardware="B")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


def test_every_pair_of_twins_is_timed_once_in_each_way():
    for size in SIZES:
        for cell in twins_of(size, "cpu", ("fp32", "bf16")):
            names = [(case.part, case.mode) for case in cases(cell)]
            assert len(names) == len(set(names))
            for budget in cell.budgets:
                for part in (f"dit {budget}", f"fpdm {budget} k=5"):
                    assert {(part, "eager"), (part, "compiled")} <= set(names)
    assert {case.mode for case in cases(twins_of("digits", "cpu", ("fp32",), compiled=False)[0])} == {"eager"}
    assert twins_of("xl_2", "cpu", ("fp32",))[0].budgets == (140,)
    assert twins_of("xl_2", "cuda", ("fp32",))[0].batch_size == 64


def test_the_suite_compares_what_it_saved_with_the_last_run(tmp_path, save, capsys, monkeypatch):
    monkeypatch.setattr("bench.benchmarks.__main__._time", lambda arguments: save(1, OLD) and 0)
    assert bench(["--device", "cpu", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "nothing to compare run 0001" in out
    assert rows(out)["block"] == ["100 ± 5%", "80 ± 5%"]
    monkeypatch.setattr("bench.benchmarks.__main__._time", lambda arguments: save(2, NEW) and 0)
    assert bench(["--device", "cpu", "--results", str(tmp_path)]) == 0
    assert "Run 0002 (commit 0123456789) over run 0001" in capsys.readouterr().out


@pytest.mark.slow
def test_the_suite_runs_and_saves(tmp_path):
    command = [sys.executable, "-m", "bench.benchmarks", "--sizes", "tiny", "--device", "cpu"]
    command += ["--only", "fp32 and eager and (block or plain or 28)", "--results", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    (saved,) = saved_runs(tmp_path)
    expected = {"block", "bare block", "plain iteration", "plain stack", "plain fpdm training step"}
    expected |= {"dit 28", "fpdm 28 k=5"}
    assert (
        {timing.part for timing in saved.timings.values()}
        == expected
        == rows(result.stdout).keys() - {"tiny fp32, batch 4"}
    )
    assert saved.environment["hardware"]
    assert saved.environment["threads"] == 1
    assert "node" not in saved.environment
    assert saved.path.stat().st_size / len(expected) < 2000  # bytes: summaries, no raw data
