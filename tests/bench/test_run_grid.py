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

from bench.run_grid import main
from bench.spec.grids import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.records import Store
from bench.training.turns import train_together

ROOT = Path(__file__).parent.parent.parent
SMALL = [
    "--budget",
    "140",
    "--samples",
    "40",
    "--train-steps",
    "45",
    "--device",
    "cpu",
    "--workers",
    "2",
    "--seeds",
    "0",
]


def run_grid(*arguments, check=True):
    command = [sys.executable, "bench/run_grid.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=check)


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
        (["--account", "macs", "--budget", "27", "--models", "fpdm"], "--budget 27: MACs and seconds go by what DiT"),
        (
            ["--account", "seconds", "--list"],
            "not calibrated in these results; run python bench/run_grid.py --grid thr",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_leaves_nothing(arguments, complaint, tmp_path):
    results = tmp_path / "results"
    result = run_grid(*arguments, "--results", results, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert complaint in lines[0]
    assert not results.exists()


def test_an_unwritable_results_folder_is_found_out_first(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    result = run_grid("--results", tmp_path / "file" / "results", check=False)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "cannot write there" in result.stderr
    assert sorted(os.listdir(tmp_path)) == ["file"]


@pytest.fixture
def with_checkpoints(tmp_path, cpu):
    """A results folder with trained twins and no records; and the cells' runs."""
    store = Store(tmp_path / "results", "digits")
    suite = get_suite("digits")
    grid = get_cells("smoothing", suite, Selection(budgets=(140,), samples=40, train_steps=1, seeds=(0,)))
    runs = list(dict.fromkeys(cell.run for cell in grid))
    train_together(runs, store, cpu)
    return store, runs


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("damage", ["truncated", "other width"])
def test_a_damaged_checkpoint_is_one_line_and_status_2(damage, with_checkpoints, tmp_path):
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
    flags = [
        "--budget",
        "140",
        "--samples",
        "40",
        "--train-steps",
        "1",
        "--seeds",
        "0",
        "--results",
        tmp_path / "results",
    ]
    result = run_grid(*flags, check=False)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert listing(tmp_path) == before


def test_kept_records_are_not_made_old_by_training_their_lost_weights_again(with_checkpoints, tmp_path):
    store, runs = with_checkpoints
    shutil.rmtree(store.root / "checkpoints")
    flags = [
        "--budget",
        "140",
        "--samples",
        "40",
        "--train-steps",
        "1",
        "--seeds",
        "0",
        "--results",
        tmp_path / "results",
    ]
    before = listing(tmp_path)
    result = run_grid(*flags, check=False)
    assert result.returncode == 2
    assert f"{runs[0].name}: its records are in" in result.stderr
    assert "--retrain" in result.stderr
    assert listing(tmp_path) == before


def test_the_plan_says_what_is_missing_and_how_long_it_takes_and_writes_nothing(tmp_path, capsys):
    assert main(["--plan", "--grid", "all", "--workers", "2", "--results", str(tmp_path / "results")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("train     ") for line in lines) == 16
    assert "train     dit 28 blocks, seed 0: 100 s  [dit-100s-seed0-" in lines[0]
    assert sum(line.startswith("evaluate  ") for line in lines) == 679
    assert "16 runs to train, 27 min; 679 of 679 cells to evaluate, about " in lines[-2]
    assert "(assumed of a core)" in lines[-2]
    assert lines[-1] == "seconds are not calibrated: the cells that follow from them come on top"
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
