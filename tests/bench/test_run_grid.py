"""The command line as a user meets it: real processes, real kills, real files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bench.run_grid import main
from bench.spec.selection import Selection, training_run
from bench.spec.suites import get_suite
from bench.store.records import Store
from bench.system.command_line import run
from bench.training.turns import train_together

ROOT = Path(__file__).parent.parent.parent
SMALL = [
    "--budget", "140", "--samples", "40", "--train-steps", "45", "--device", "cpu", "--workers", "2", "--seeds", "0",
]  # fmt: skip


def run_grid(*arguments, check=True):
    command = [sys.executable, "bench/run_grid.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=check)


@pytest.fixture
def refused(capsys):
    """Runs bench/run_grid.py in this process; it must end with status 2 and one line, which is returned."""

    def refused(*arguments):
        assert run(main, [*map(str, arguments)]) == 2
        printed, complaint = capsys.readouterr()
        assert printed == ""
        (line,) = complaint.splitlines()
        assert line.startswith("error: ")
        return line

    return refused


def kill_when(ready, *arguments):
    """Start the command, SIGKILL it as soon as `ready()`, and wait until its workers have followed it."""
    command = [sys.executable, "bench/run_grid.py", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def outcome(results):
    """What must not depend on interruptions: samples, metrics and weights of each record, and the metrics logs."""
    records = [json.loads(path.read_text()) for path in (results / "digits/records").iterdir()]
    logs = {
        path.name: [{**json.loads(line), "elapsed_s": None} for line in path.read_text().splitlines()]
        for path in (results / "digits/training").glob("*.jsonl")
    }
    return {r["key"]: (r["status"], r["samples_digest"], r["metrics"], r["inputs"], r["cost"]) for r in records}, logs


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="follows child processes through /proc")
def test_killed_in_training_and_in_the_grid_it_ends_with_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = [*SMALL, "--results"]
    done = run_grid(*flags, whole)
    assert "fig4_smoothing.png" in done.stdout

    def checkpointed():
        return len(list(killed.glob("digits/checkpoints/*/step-*"))) >= 1

    kill_when(checkpointed, *flags, killed)
    assert not list(killed.glob("digits/training/dit*.json"))  # DiT was in the middle of its training
    kill_when(lambda: len(list(killed.glob("digits/records/*.json"))) >= 2, *flags, killed)
    assert 2 <= len(list(killed.glob("digits/records/*.json"))) < 28
    kept = {path: path.stat().st_mtime_ns for path in killed.glob("digits/records/*.json")}
    run_grid(*flags, killed)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())  # what was done is not done again
    assert outcome(killed) == outcome(whole)
    assert len(outcome(whole)[0]) == 28  # 14 of quality, 14 of images

    started = {path: path.stat().st_mtime_ns for path in whole.glob("digits/records/*.json")}
    again = run_grid(*flags, whole)
    assert "nothing to evaluate" in again.stdout
    assert started == {path: path.stat().st_mtime_ns for path in whole.glob("digits/records/*.json")}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--grid", "smooth"], "unknown grid 'smooth'"),
        (["--suite", "imagnet"], "unknown suite 'imagnet'"),
        (["--samples", "0"], "--samples 0"),
        (["--samples", "few"], "--samples"),
        (["--budget", "2"], "--budget 2"),
        (["--budget", "-3"], "--budget"),
        (["--workers", "0"], "--workers 0"),
        (["--sampels", "9"], "--sampels"),
        (["--device", "abacus"], "--device abacus"),
        (["--device", "meta"], "--device meta"),
        (["--only", "xyz"], "--only xyz: no cell of grid smoothing"),
        (["--models", "unet"], "unknown model 'unet'"),
        (["--account", "joules"], "--account joules: choose one of blocks, macs, seconds"),
        (
            ["--account", "macs", "--budget", "27", "--models", "fpdm"],
            "--budget 27: must be 28 or more",
        ),
        (
            ["--account", "seconds", "--list"],
            "not calibrated in these results; run python bench/run_grid.py --grid thr",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_leaves_nothing(arguments, complaint, tmp_path, refused):
    results = tmp_path / "results"
    assert complaint in refused(*arguments, "--results", results)
    assert not results.exists()


def test_bad_input_is_one_line_of_a_process_too(tmp_path):
    """Without a warning or a traceback of what the process loads."""
    results = tmp_path / "results"
    result = run_grid("--device", "abacus", "--results", results, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: --device abacus")
    assert not results.exists()


def test_an_unwritable_results_folder_is_found_out_first(tmp_path, refused):
    (tmp_path / "file").write_text("not a folder")
    assert "cannot write there" in refused("--results", tmp_path / "file" / "results")
    assert sorted(os.listdir(tmp_path)) == ["file"]


ONE_STEP = ["--budget", "140", "--samples", "40", "--train-steps", "1", "--seeds", "0"]


@pytest.fixture(scope="module")
def twins_of_one_step(tmp_path_factory):
    """A results folder with trained twins and no records; and their runs."""
    store, suite = Store(tmp_path_factory.mktemp("results"), "digits"), get_suite("digits")
    runs = [training_run(suite, contender, Selection(train_steps=1)) for contender in suite.chosen(None)]
    train_together(runs, store, torch.device("cpu"))
    return store, runs


@pytest.fixture
def with_checkpoints(twins_of_one_step, tmp_path):
    """The same in a folder of the test's own."""
    store, runs = twins_of_one_step
    shutil.copytree(store.root, tmp_path / "results" / "digits")
    return Store(tmp_path / "results", "digits"), runs


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("damage", ["truncated", "other width"])
def test_a_damaged_checkpoint_is_one_line_and_status_2(damage, with_checkpoints, tmp_path, refused):
    store, runs = with_checkpoints
    folder = store.checkpoint_folder(runs[0])
    if damage == "truncated":
        path = next(folder.glob("*/ema.safetensors"))
        path.write_bytes(path.read_bytes()[:-1])
        complaint = "truncated or changed"
    else:
        path = next(folder.glob("*/meta.json"))
        meta = json.loads(path.read_text())
        meta["run"]["config"]["hidden_size"] = 128
        path.write_text(json.dumps(meta))
        complaint = "its config.hidden_size is 128, expected 64"
    before = listing(tmp_path)
    assert complaint in refused(*ONE_STEP, "--results", tmp_path / "results")
    assert listing(tmp_path) == before


def test_kept_records_are_not_made_old_by_training_their_lost_weights_again(with_checkpoints, tmp_path, refused):
    store, runs = with_checkpoints
    shutil.rmtree(store.root / "checkpoints")
    before = listing(tmp_path)
    line = refused(*ONE_STEP, "--results", tmp_path / "results")
    assert f"{runs[0].name}: its records are in" in line
    assert "--retrain" in line
    assert listing(tmp_path) == before


def test_the_plan_says_what_is_missing_and_how_long_it_takes_and_writes_nothing(tmp_path, capsys):
    assert main(["--plan", "--grid", "all", "--workers", "2", "--results", str(tmp_path / "results")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("train     ") for line in lines) == 85
    assert "train     dit 28 blocks, seed 0: 100 s  [dit-100s-seed0-" in lines[0]
    assert sum(line.startswith("evaluate  ") for line in lines) == 1102
    # runs of one contender that differ in length only cost what the longest does
    assert "85 runs to train, 2.0 h; 1102 of 1102 cells to evaluate, about " in lines[-2]
    assert "(assumed of a core)" in lines[-2]
    assert lines[-1] == "seconds are not calibrated: cells whose steps depend on them come on top"
    assert not (tmp_path / "results").exists()


def test_both_ways_to_start_it_work_from_the_root():
    outputs = [
        subprocess.run([sys.executable, *how, "--list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for how in (["bench/run_grid.py"], ["-m", "bench.run_grid"])
    ]
    assert outputs[0] == outputs[1] != ""


def test_the_top_level_is_the_one_that_the_design_draws():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split("/")[0] for line in tracked.splitlines()} <= {
        "README.md", "pyproject.toml", "bench", "models", "results", "slurm", "tests", "paper_figures",
        "constraints.txt", "Makefile", "CONTRIBUTING.md", "LICENSE", "CITATION.cff", ".gitignore", ".ci",
    }  # fmt: skip
