"""Runs that differ only in length: the longer goes on from the end of the shorter, and the bits stay the same."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from each_family import TRAINED
from safetensors.torch import load_file

from bench.machine.execution import Execution
from bench.store.records import Store
from bench.training import step as training_step
from bench.training import trainer
from bench.training.runs import chains, waves
from bench.training.trainer import Trainer
from bench.training.turns import train_together


@pytest.fixture
def taken(monkeypatch):
    """The steps that trainers took, as (model, budget, steps taken before)."""
    steps, take_step = [], Trainer._train_step

    def noted(self):
        steps.append((self.run.model, self.budget, self.step))
        take_step(self)

    monkeypatch.setattr(Trainer, "_train_step", noted)
    return steps


def state(store, run):
    """Everything that a run leaves, but for seconds: tensors, digest, log lines, and the log's open window."""
    (folder,) = store.checkpoint_folder(run).glob("step-*")
    tensors = {name: load_file(folder / f"{name}.safetensors") for name in ("ema", "state")}
    lines = [{**json.loads(line), "elapsed_s": 0} for line in store.metrics_log_path(run).read_text().splitlines()]
    window = json.loads((folder / "meta.json").read_text())["extra"]["log"]
    return tensors, store.read_training(run)["digest"], lines, window


def assert_same_bits(store, other, run):
    (ours, *rest), (theirs, *others) = state(store, run), state(other, run)
    for name in ("ema", "state"):
        assert ours[name].keys() == theirs[name].keys()
        assert all(torch.equal(ours[name][key], theirs[name][key]) for key in ours[name])
    assert rest == others


@pytest.mark.parametrize("model", TRAINED)
def test_a_run_that_continues_a_shorter_one_equals_an_uninterrupted_one(model, tiny_run, tmp_path, cpu, taken):
    short, long = tiny_run(model, steps=13), tiny_run(model, steps=25)
    whole, continued = Store(tmp_path / "whole", "digits"), Store(tmp_path / "continued", "digits")
    train_together([long], whole, cpu)
    train_together([short], continued, cpu)
    first = state(continued, short)
    taken.clear()
    train_together([long], continued, cpu)
    assert [step for *_, step in taken] == list(range(13, 25))
    assert_same_bits(whole, continued, long)
    assert [line["step"] for line in state(continued, long)[2]] == [10, 20]
    assert continued.read_training(long)["continues"] == short.name
    assert "continues" not in whole.read_training(long)
    assert continued.read_training(long)["run"] == whole.read_training(long)["run"]
    again = state(continued, short)  # the shorter run is as it was
    assert again[1:] == first[1:]


def test_budgets_of_a_contender_train_the_steps_of_the_longest_in_all(tiny_run, tmp_path, cpu, taken):
    store, whole = Store(tmp_path / "chain", "digits"), Store(tmp_path / "whole", "digits")
    runs = [tiny_run(model, steps) for steps in (8, 3, 5) for model in ("dit", "fpdm")]
    train_together(runs, store, cpu)
    for model in ("dit", "fpdm"):
        assert [entry[1:] for entry in taken if entry[0] == model] == [
            *((3, step) for step in range(3)),
            *((5, step) for step in range(3, 5)),
            *((8, step) for step in range(5, 8)),
        ]
        assert store.read_training(tiny_run(model, 8))["continues"] == tiny_run(model, 5).name
    train_together(runs[:2], whole, cpu)
    for run in runs[:2]:
        assert_same_bits(whole, store, run)


def test_runs_of_a_wave_take_turns(tiny_run, store, cpu, taken):
    runs = [tiny_run(model, steps) for steps in (8, 3) for model in ("dit", "fpdm")]
    runs = [replace(run, recipe=replace(run.recipe, slice_s=1e-9)) for run in runs]  # slices of one step
    train_together(runs, store, cpu)
    assert [model for model, *_ in taken] == ["dit", "fpdm"] * 8
    assert [budget for _, budget, _ in taken] == [3] * 6 + [8] * 10


def test_one_after_the_other_is_ascending_too(tiny_run, store, cpu, taken):
    train_together([tiny_run("dit", steps) for steps in (8, 3, 5)], store, cpu, alternate=False)
    assert [step for *_, step in taken] == list(range(8))


def test_waves_have_the_next_longer_run_of_every_chain(tiny_run):
    runs = [tiny_run("dit", 8), tiny_run("fpdm", 9), tiny_run("dit", 3), tiny_run("dit", 3, seed=1)]
    assert chains(runs) == [[runs[2], runs[0]], [runs[1]], [runs[3]]]
    assert waves(runs) == [[runs[2], runs[1], runs[3]], [runs[0]]]


def test_seeds_of_many_runs_train_one_after_the_other(tiny_run):
    runs = [tiny_run(model, steps, seed=seed) for seed in (0, 1) for steps in (3, 8) for model in ("dit", "fpdm")]
    assert waves(runs) == [[runs[0], runs[1], runs[4], runs[5]], [runs[2], runs[3], runs[6], runs[7]]]
    many = [replace(tiny_run("dit", seed=seed), model=f"dit-{i}") for seed in (0, 1, 2) for i in range(5)]
    assert waves(many) == [many[:5], many[5:10], many[10:]]


def test_a_longer_run_killed_in_its_middle_resumes_its_own_checkpoint(tiny_run, tmp_path, cpu, taken, monkeypatch):
    short, long = tiny_run("fpdm", steps=3), tiny_run("fpdm", steps=12)
    whole, killed = Store(tmp_path / "whole", "digits"), Store(tmp_path / "killed", "digits")
    train_together([long], whole, cpu)
    noted = Trainer._train_step

    def interrupted_in_step_8(self):
        if self.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
        noted(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", interrupted_in_step_8)
        with pytest.raises(KeyboardInterrupt):
            train_together([short, long], killed, cpu)
    taken.clear()
    train_together([short, long], killed, cpu)
    assert [step for *_, step in taken] == list(range(8, 12))
    assert_same_bits(whole, killed, long)
    assert killed.read_training(long)["continues"] == short.name


def test_a_run_goes_on_with_the_seconds_of_the_shorter_one(tiny_run, store, cpu, taken):
    def timed(seconds):
        run = tiny_run("dit", steps=None)
        return replace(run, recipe=replace(run.recipe, seconds=seconds))

    train_together([timed(1.0)], store, cpu)
    before = store.read_training(timed(1.0))
    train_together([timed(1.2)], store, cpu)
    after = store.read_training(timed(1.2))
    assert len(taken) == after["step"] > before["step"]
    assert after["elapsed_s"] < 1.0 + 1.2  # it did not train 1.2 s more
    assert after["continues"] == timed(1.0).name
    taken.clear()
    train_together([timed(before["elapsed_s"] - 1e-3)], store, cpu)  # no ended run is shorter in seconds spent
    assert taken[0][2] == 0


def test_only_the_same_training_of_fewer_steps_is_the_start_of_another(tiny_run, store, cpu, taken):
    short, long = tiny_run("fpdm", steps=3), tiny_run("fpdm", steps=5)
    strangers = [
        replace(short, seed=1),
        replace(short, recipe=replace(short.recipe, learning_rate=2e-4)),
        replace(short, recipe=replace(short.recipe, n_max=1)),
        replace(short, config=replace(short.config, depth=6)),
        replace(short, suite="fashion"),
        replace(short, steps=None, recipe=replace(short.recipe, seconds=0.01)),
        replace(short, steps=6),  # longer
    ]
    for stranger in strangers:
        train_together([stranger], store, cpu)
    taken.clear()
    train_together([long], store, cpu)
    assert [step for *_, step in taken] == list(range(5))
    assert "continues" not in store.read_training(long)


def test_the_longest_shorter_run_whose_weights_are_here_is_continued(tiny_run, store, cpu, taken):
    runs = [tiny_run("dit", steps) for steps in (2, 4, 6)]
    train_together(runs, store, cpu)
    for path in store.checkpoint_folder(runs[2]).glob("step-*/*"):
        path.unlink()
    next(store.checkpoint_folder(runs[2]).glob("step-*")).rmdir()
    taken.clear()
    train_together([tiny_run("dit", 7)], store, cpu)
    assert [step for *_, step in taken] == [4, 5, 6]


@pytest.mark.parametrize("name", ["ema.safetensors", "state.safetensors", "meta.json"])
def test_a_damaged_shorter_run_is_named_and_not_continued(name, tiny_run, store, cpu, taken, capsys):
    short, long = tiny_run("dit", steps=3), tiny_run("dit", steps=5)
    train_together([short], store, cpu)
    path = next(store.checkpoint_folder(short).glob(f"*/{name}"))
    path.write_bytes(path.read_bytes()[:-10])
    taken.clear()
    train_together([long], store, cpu)
    assert [step for *_, step in taken] == list(range(5))
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith(long.name))
    assert line.startswith(f"{long.name} does not go on from {short.name}: checkpoint {path}")


@pytest.mark.parametrize("execution", [Execution(), Execution(grad_checkpointing=True)])
def test_a_shorter_run_of_other_hardware_is_not_continued(execution, tiny_run, store, cpu, taken, monkeypatch, capsys):
    train_together([tiny_run("dit", steps=3)], store, cpu)
    if execution == Execution():
        monkeypatch.setattr(trainer, "hardware_name", lambda device: "abacus")
    taken.clear()
    train_together([tiny_run("dit", steps=5)], store, cpu, execution)
    assert [step for *_, step in taken] == list(range(5))
    assert "its bits may differ" in capsys.readouterr().err


def test_a_diverged_run_is_not_continued_and_the_longer_one_diverges_itself(tiny_run, store, cpu, taken, monkeypatch):
    loss_of = training_step.diffusion_loss
    runs = [tiny_run("dit", steps=steps) for steps in (2, 5, 7)]

    def explode(schedule, prediction, *args):
        return loss_of(schedule, prediction * (float("inf") if taken[-1][2] == 3 else 1), *args)

    monkeypatch.setattr(training_step, "diffusion_loss", explode)
    monkeypatch.setattr(Trainer, "warm_up", lambda self: None)
    train_together(runs, store, cpu)
    assert [store.read_training(run)["status"] for run in runs] == ["done", "diverged", "diverged"]
    assert [step for *_, step in taken] == [0, 1, 2, 3, 2, 3]  # both go on from the run of two steps
    assert store.read_training(runs[2])["continues"] == runs[0].name
