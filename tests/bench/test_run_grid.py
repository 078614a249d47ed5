"""The command line as a user meets it: real processes, real kills, real files."""

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from faults import refused as refused_by_storage

from bench.run_grid import main
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection, training_run
from bench.spec.suites import get_suite
from bench.store.records import Record, Store
from bench.system.command_line import run
from bench.system.errors import BadInputError
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
    assert len(outcome(whole)[0]) == 29  # 14 of quality, 14 of images, the floor

    started = {path: path.stat().st_mtime_ns for path in whole.glob("digits/records/*.json")}
    again = run_grid(*flags, whole)
    assert "nothing to evaluate" in again.stdout
    assert started == {path: path.stat().st_mtime_ns for path in whole.glob("digits/records/*.json")}


def test_bad_input_is_one_line_of_a_process_too(tmp_path):
    """Without a warning or a traceback of what the process loads."""
    results = tmp_path / "results"
    result = run_grid("--device", "abacus", "--results", results, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: --device abacus")
    assert not results.exists()


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


@pytest.fixture
def evaluate(with_checkpoints, tmp_path, monkeypatch):
    """Evaluates one quality cell in this process, without figures; returns the status of the command."""
    monkeypatch.setattr("bench.run_grid._draw", lambda arguments: 0)
    selection = Selection(budgets=(140,), samples=40, train_steps=1, seeds=(0,))
    cells = get_cells("smoothing", get_suite("digits"), selection)
    cell = next(c for c in cells if c.measure == "quality" and c.run.model == "fpdm" and c.iterations == 26)
    arguments = [*ONE_STEP, "--device", "cpu", "--workers", "1", "--only", cell.key, "--results", tmp_path / "results"]
    return lambda: run(main, [*map(str, arguments)])


@pytest.mark.parametrize(
    ("operation", "name", "number"),
    [
        ("read", "training/", errno.ENOTCONN),
        ("read", "meta.json", errno.ETIMEDOUT),
        ("open", "ema.safetensors", errno.EBUSY),
        ("read", "digits-cnn", errno.ENFILE),
        ("lock", "/locks/", errno.EIO),
        ("mkdir", "/partial", errno.ENXIO),
        ("write", "batch-00000", errno.ESTALE),
        ("write", "/records/", errno.ENOSPC),
        ("replace", "/records/", errno.EHOSTDOWN),
    ],
)
def test_storage_that_fails_in_a_cell_is_one_line_and_the_grid_goes_on(
    operation, name, number, evaluate, tmp_path, capsys
):
    refused_by_storage(evaluate, operation, name, number, capsys, tmp_path / "results")
    assert not list(tmp_path.glob("results/digits/records/*"))
    assert evaluate() == 0
    (record,) = tmp_path.glob("results/digits/records/*")
    assert json.loads(record.read_text())["status"] == "done"
    assert not list(tmp_path.glob("results/digits/partial/*"))
    refused_by_storage(evaluate, "read", "/records/", number, capsys, tmp_path / "results")


def test_kept_records_are_not_made_old_by_training_their_lost_weights_again(with_checkpoints, tmp_path, refused):
    store, runs = with_checkpoints
    shutil.rmtree(store.root / "checkpoints")
    before = listing(tmp_path)
    line = refused(*ONE_STEP, "--results", tmp_path / "results")
    assert f"{runs[0].name}: its records are in" in line
    assert "--retrain" in line
    assert listing(tmp_path) == before


def test_batches_of_a_cell_whose_record_was_just_written_are_not_kept(with_checkpoints, tmp_path, monkeypatch):
    """Of a process that was killed before it deleted them. The batches of cells under way are."""
    monkeypatch.setattr("bench.evaluation.local.Local.run", lambda self, cells: 0)
    monkeypatch.setattr("bench.run_grid._draw", lambda arguments: 0)
    store, _ = with_checkpoints
    selection = Selection(budgets=(140,), samples=40, train_steps=1, seeds=(0,))
    cells = get_cells("smoothing", get_suite("digits"), selection)
    done, under_way, *_ = (cell for cell in cells if cell.measure == "quality")
    digest = store.read_training(done.run)["digest"]
    store.write(Record(done.key, "done", "", done.spec(), {"checkpoint": digest}))
    for cell in (done, under_way):
        store.partial_folder(cell).mkdir(parents=True)
    assert main([*ONE_STEP, "--results", str(tmp_path / "results")]) == 0
    assert not store.partial_folder(done).exists()
    assert store.partial_folder(under_way).exists()


def test_the_plan_says_what_is_missing_and_how_long_it_takes_and_writes_nothing(tmp_path, capsys):
    assert main(["--plan", "--grid", "all", "--workers", "2", "--results", str(tmp_path / "results")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("train     ") for line in lines) == 105
    assert "train     dit 28 blocks, seed 0: 100 s  [dit-100s-seed0-" in lines[0]
    cells = len(get_cells("all", get_suite("digits"), Selection()))
    assert sum(line.startswith("evaluate  ") for line in lines) == cells >= 1102  # samplers may be added
    # runs of one contender that differ in length only cost what the longest does
    assert f"105 runs to train, 2.6 h; {cells} of {cells} cells to evaluate, about " in lines[-2]
    assert "(assumed of a core)" in lines[-2]
    assert lines[-1] == "seconds are not calibrated: cells whose steps depend on them come on top"
    assert not (tmp_path / "results").exists()


def test_seconds_are_calibrated_for_grids_that_only_some_accounts_have_too(tmp_path, monkeypatch):
    def measured(suite, setting):
        raise BadInputError("measured")

    monkeypatch.setattr("bench.evaluation.calibration.calibrate", measured)
    with pytest.raises(BadInputError, match="measured"):
        main(["--grid", "accounts", "equal-timesteps", "--results", str(tmp_path / "results")])


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
