"""Runs that train side by side, each in a process with its share of the cores."""

import multiprocessing
import os
import signal
import threading
import time
from contextlib import contextmanager, nullcontext

import pytest
import torch
from safetensors.torch import load_file

from bench.run_grid import main as run_grid
from bench.spec.arguments import Running
from bench.spec.selection import Selection, training_run
from bench.system.command_line import run
from bench.system.errors import BadInputError
from bench.system.signals import STOP, Interrupts
from bench.train import main
from bench.training.neighbors import rotate
from bench.training.runs import check_comparable
from bench.training.turns import train_together


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def weights(store, run):
    (folder,) = store.checkpoint_folder(run).glob("step-*")
    return {
        name: tensor for file in ("ema", "state") for name, tensor in load_file(folder / f"{file}.safetensors").items()
    }


class Pretended:
    """A neighbor whose slices end at the second look."""

    def __init__(self, name, slices, events):
        self.name, self.left, self.events = name, slices, events
        self.finished, self.looks = slices == 0, 0

    def begin(self):
        self.events.append(f"begin {self.name}")
        self.looks = 0

    def stop(self):
        self.events.append(f"stop {self.name}")

    def ended(self, seconds):
        self.looks += 1
        if self.looks < 2:
            return False
        self.left -= 1
        self.finished = self.left == 0
        self.events.append(f"end {self.name}")
        return True


def test_neighbors_change_between_slices():
    events = []
    rotate(
        [Pretended(name, slices, events) for name, slices in (("a", 2), ("b", 2), ("done", 0), ("c", 2))],
        2,
        Interrupts(),
    )
    assert events == [
        "begin a", "begin b", "end a", "end b",
        "begin c", "begin a", "end c", "end a",
        "begin b", "begin c", "end b", "end c",
    ]  # fmt: skip


def test_a_stop_is_told_to_those_under_way_once():
    events, interrupts = [], Interrupts()

    class Asking(Pretended):
        def ended(self, seconds):
            interrupts.request = STOP
            return super().ended(seconds)

    rotate([Asking("a", 9, events), Pretended("b", 9, events), Pretended("c", 9, events)], 2, interrupts)
    assert events == ["begin a", "begin b", "stop a", "stop b", "end a", "end b"]


def test_a_stop_while_runs_start_starts_no_more(tiny_run, store, cpu, monkeypatch):
    interrupts, started = Interrupts(), []

    class Starting(Pretended):
        def __init__(self, run, *_):
            super().__init__(run.name, 9, [])
            self.process = multiprocessing.Process()
            started.append(run.seed)

        def ended(self, seconds):
            interrupts.request = STOP
            return False

        def close(self):
            started.append("closed")

    monkeypatch.setattr("bench.training.neighbors.Process", Starting)
    monkeypatch.setattr("bench.training.neighbors.watched", lambda processes: nullcontext())
    with pytest.raises(KeyboardInterrupt):
        train_together(
            [tiny_run("dit", seed=seed) for seed in range(5)], store, cpu, side_by_side=2, interrupts=interrupts
        )
    assert started == [0, 1, "closed", "closed"]


@pytest.mark.slow
def test_three_runs_get_equal_seconds_on_a_core_each(tiny_suite, store, cpu):
    suite = tiny_suite.changed(recipe={"seconds": 1, "slice_s": 0.3})
    runs = [training_run(suite, suite.contender(name), Selection(), seed) for name, seed in (("dit", 0), ("fpdm", 0))]
    runs.append(training_run(suite, suite.contender("dit"), Selection(), 1))
    train_together(runs, store, cpu, side_by_side=2)
    for one in runs:
        summary = store.read_training(one)
        assert (summary["status"], summary["side_by_side"], summary["environment"]["threads"]) == ("done", 2, 1)
        assert 1 <= summary["elapsed_s"] < 2
        assert summary["step"] > 3
    assert torch.get_num_threads() == 2
    train_together(runs, store, cpu, side_by_side=2)  # nothing is left to do


def test_neighbors_change_no_bit(tiny_run, store, tmp_path, cpu):
    runs = [tiny_run(name, steps=12) for name in ("dit", "fpdm")]
    train_together(runs, store, cpu, side_by_side=2)
    alone = type(store)(tmp_path / "alone", "digits")
    torch.set_num_threads(1)
    train_together(runs, alone, cpu)
    for one in runs:
        beside, expected = weights(store, one), weights(alone, one)
        assert beside.keys() == expected.keys()
        assert all(torch.equal(beside[name], expected[name]) for name in beside)


@contextmanager
def when_a_checkpoint_is_there(store, runs, act):
    """Call `act` as soon as a run has a checkpoint."""

    def watch():
        while not any(list(store.checkpoint_folder(one).glob("step-*")) for one in runs):
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    thread.join(60)


@pytest.mark.slow
def test_both_stop_at_ctrl_c_and_go_on(tiny_suite, store, tmp_path, cpu):
    suite = tiny_suite.changed(recipe={"slice_s": 0.1})
    runs = [training_run(suite, suite.contender(name), Selection(train_steps=400)) for name in ("dit", "fpdm")]
    ask = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    with when_a_checkpoint_is_there(store, runs, ask), pytest.raises(KeyboardInterrupt):
        train_together(runs, store, cpu, side_by_side=2)
    assert all(store.read_training(one) is None for one in runs)
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train_together(runs, store, cpu, side_by_side=2)
    whole = type(store)(tmp_path / "whole", "digits")
    torch.set_num_threads(1)
    train_together(runs, whole, cpu)
    for one in runs:
        assert store.read_training(one)["digest"] == whole.read_training(one)["digest"]


@pytest.mark.slow
def test_a_killed_process_ends_both(tiny_suite, store, cpu):
    suite = tiny_suite.changed(recipe={"slice_s": 0.1})
    runs = [training_run(suite, suite.contender(name), Selection(train_steps=4000)) for name in ("dit", "fpdm")]
    kill = lambda: multiprocessing.active_children()[0].kill()  # noqa: E731
    with (
        when_a_checkpoint_is_there(store, runs, kill),
        pytest.raises(BadInputError, match=r"the process that trains .* ended with status -9"),
    ):
        train_together(runs, store, cpu, side_by_side=2)
    assert multiprocessing.active_children() == []


def test_bad_input_of_a_process_is_raised_here(tiny_run, store, cpu):
    runs = [tiny_run("dit", steps=5), tiny_run("fpdm", steps=5)]
    bad = store.checkpoint_folder(runs[1]) / "step-00000001"
    bad.mkdir(parents=True)
    with pytest.raises(BadInputError, match=r"checkpoint .*meta\.json is damaged"):
        train_together(runs, store, cpu, side_by_side=2)
    assert multiprocessing.active_children() == []


def test_side_by_side_and_in_turns_are_not_compared(tiny_suite, store, cpu):
    suite = tiny_suite.changed(recipe={"seconds": 0.2, "slice_s": 0.1})
    dit, fpdm = (training_run(suite, one, Selection()) for one in suite.chosen(("dit", "fpdm")))
    train_together([dit], store, cpu, side_by_side=2)
    train_together([fpdm], store, cpu)
    with pytest.raises(BadInputError, match=r"number of trainings side by side 1, .* with 2: these trainings are not"):
        check_comparable(store, [dit, fpdm])


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (main, ["--side-by-side", "0"], "--side-by-side 0: must be 1 or more"),
        (run_grid, ["--executor", "slurm", "--side-by-side", "2"], "--executor slurm --side-by-side 2: leave one out"),
    ],
)
def test_bad_input(command, words, message, tmp_path, capsys):
    assert run(command, [*words, "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_only_a_cpu_trains_side_by_side(tiny_run, store):
    with pytest.raises(BadInputError, match="--side-by-side 2: only on a CPU"):
        train_together([tiny_run("dit", steps=1)], store, torch.device("cuda"), side_by_side=2)
    assert Running().side_by_side == 1
