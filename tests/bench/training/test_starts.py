"""Runs that go on under other conditions: hardware, options, ranks and micro-batch."""

from dataclasses import replace
from itertools import count

import pytest
import torch

from bench.machine.execution import EAGER, Execution
from bench.spec.selection import Selection, training_run
from bench.store.records import Store
from bench.system.errors import BadInputError
from bench.training import checkpoints, trainer
from bench.training.ranks import ALONE, Ranks
from bench.training.runs import check_comparable
from bench.training.starts import change_at, conditions_from
from bench.training.trainer import Trainer
from bench.training.turns import train_together

HERE = "abacus, 1 cores"


@pytest.fixture(autouse=True)
def hardware(monkeypatch):
    """Sets the name of the hardware."""

    def named(name):
        monkeypatch.setattr(trainer, "hardware_name", lambda device: name)

    named(HERE)
    return named


@pytest.fixture
def begun(store, cpu, monkeypatch):
    """Trains a run for three steps, and saves it as an interruption would: begun(run, Execution(...))."""

    def begin(run, execution=EAGER, into=store):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "finished", property(lambda self: self.step >= 3 or self.status != "training"))
            train_together([run], into, cpu, execution)
        assert into.read_training(run) is not None  # of three steps: the next summary replaces it
        into.training_path(run).unlink()
        return run

    return begin


@pytest.fixture
def timed_run(tiny_suite, monkeypatch):
    """A run of half a second, by a clock that reads 10 ms more each time."""
    readings = count()
    monkeypatch.setattr("bench.training.clock.time.perf_counter", lambda: 0.01 * next(readings))
    return training_run(tiny_suite, tiny_suite.contender("dit"), Selection(train_seconds=0.5))


def conditions(store, run):
    return store.read_training(run)["conditions"]


@pytest.mark.parametrize(
    ("execution", "there", "conditions_after"),
    [
        (EAGER, "abacus, 2 cores", ("abacus, 2 cores", 16)),
        (EAGER, "slide rule", ("slide rule", 16)),  # as from a CPU to a GPU
        (Execution(micro_batch=5), HERE, (HERE, 5)),
        (Execution(grad_checkpointing=True), HERE, (f"{HERE}, checkpointing", 16)),
    ],
)
def test_a_run_of_steps_goes_on_under_other_conditions_and_says_so(
    execution, there, conditions_after, tiny_run, begun, store, tmp_path, cpu, hardware, capsys
):
    run, whole = begun(tiny_run("fpdm", steps=6)), Store(tmp_path / "whole", "digits")
    capsys.readouterr()
    hardware(there)
    train_together([run], store, cpu, execution)
    name, micro_batch = conditions_after
    assert conditions(store, run) == [
        {"from_step": 0, "hardware": HERE, "micro_batch": 16},
        {"from_step": 3, "hardware": name, "micro_batch": micro_batch},
    ]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "goes on" in line]
    changed = f"hardware {name} (before: {HERE})" if name != HERE else f"micro-batch {micro_batch} (before: 16)"
    assert line.endswith(f"{run.name} goes on from step 3 with {changed}")
    hardware(HERE)
    train_together([run], whole, cpu)
    assert "conditions" not in whole.read_training(run)
    (one, _), (other, _) = (checkpoints.load(s.checkpoint_folder(run), run) for s in (store, whole))
    for weight, undisturbed in zip(one.ema.values(), other.ema.values(), strict=True):  # the same but for rounding
        torch.testing.assert_close(weight, undisturbed, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about what it does itself
def test_a_run_of_steps_goes_on_compiled(tiny_run, begun, store, cpu):
    run = begun(tiny_run("dit", steps=6))
    train_together([run], store, cpu, Execution(compiled=True))
    assert conditions(store, run)[1] == {"from_step": 3, "hardware": f"{HERE}, compiled", "micro_batch": 16}
    assert store.read_training(run)["execution"] == ""  # what it began with


def test_a_run_of_steps_goes_on_with_another_number_of_ranks(tiny_run, begun, store, cpu, monkeypatch):
    """A second rank is pretended: what it would gather is missing, its share of the batch too."""
    run = begun(tiny_run("dit", steps=6))
    for name in ("parallel", "gather", "broadcast", "tell"):
        alone = getattr(ALONE, name)
        monkeypatch.setattr(Ranks, name, lambda self, *arguments, alone=alone: alone(*arguments))
    train_together([run], store, cpu, ranks=Ranks(0, 2))
    assert conditions(store, run)[1] == {"from_step": 3, "hardware": f"2 x {HERE}", "micro_batch": 8}


def test_a_run_may_change_more_than_once(tiny_run, begun, store, cpu, hardware):
    run = begun(tiny_run("dit", steps=6))
    hardware("slide rule")
    trainer_ = Trainer(run, store, cpu, source())
    trainer_.warm_up()
    trainer_._train_step()
    trainer_.save()
    hardware(HERE)
    train_together([run], store, cpu)
    assert [(one["from_step"], one["hardware"]) for one in conditions(store, run)] == [
        (0, HERE),
        (3, "slide rule"),
        (4, HERE),
    ]


def source():
    from bench.data.batches import BatchSource
    from bench.data.pixels import load_dataset
    from models.autoencoder import PixelAutoencoder

    data = load_dataset("digits")
    return BatchSource(PixelAutoencoder().encode(data.images), data.labels, 10, 0.1, 1000, data.digest)


def test_conditions_that_no_step_was_taken_under_are_dropped():
    first = conditions_from(0, HERE, 16, [])
    other = conditions_from(7, "slide rule", 16, first)
    assert change_at(7, other) == f"hardware slide rule (before: {HERE})"
    assert conditions_from(7, HERE, 16, other) == first
    assert change_at(7, first) == ""
    assert conditions_from(9, HERE, 8, other)[2] == {"from_step": 9, "hardware": HERE, "micro_batch": 8}


def test_a_checkpoint_from_before_conditions_were_kept_goes_on(tiny_run, begun, store, cpu, hardware):
    run = begun(tiny_run("dit", steps=6))
    folder = store.checkpoint_folder(run)
    saved, _ = checkpoints.load(folder, run)
    older = {name: value for name, value in saved.extra.items() if name not in ("conditions", "options", "skipped")}
    checkpoints.save(folder, run, replace(saved, extra=older))
    hardware("slide rule")
    train_together([run], store, cpu, Execution(micro_batch=4))
    assert conditions(store, run) == [
        {"from_step": 0, "hardware": HERE},
        {"from_step": 3, "hardware": "slide rule", "micro_batch": 4},
    ]


def test_seconds_of_other_options_are_not_added_up(timed_run, begun, store, cpu):
    begun(timed_run)
    with pytest.raises(
        BadInputError, match=f"on {HERE}, not {HERE}, checkpointing: their seconds do not add up; go on"
    ):
        train_together([timed_run], store, cpu, Execution(grad_checkpointing=True))


def test_a_run_of_seconds_goes_on_with_a_smaller_micro_batch_and_says_so(timed_run, begun, store, cpu, capsys):
    """What the error of a training that ran out of memory advises."""
    begun(timed_run)
    capsys.readouterr()
    train_together([timed_run], store, cpu, Execution(micro_batch=4))
    summary = store.read_training(timed_run)
    assert [(one["from_step"], one["micro_batch"]) for one in summary["conditions"]] == [(0, 16), (3, 4)]
    assert 0.5 <= summary["elapsed_s"] < 0.55  # its seconds were added up
    error = capsys.readouterr().err
    assert f"{timed_run.name} goes on from step 3 with micro-batch 4 (before: 16)" in error
    twin = replace(timed_run, model="fpdm")  # which memory did not force
    store.training_path(twin).write_text(store.training_path(timed_run).read_text().replace('"conditions"', '"_"'))
    check_comparable(store, [timed_run, twin])


def test_a_run_of_seconds_does_not_go_on_with_a_larger_micro_batch(timed_run, begun, store, cpu):
    """It would take more steps a second than those before it."""
    begun(timed_run, Execution(micro_batch=4))
    train_together([timed_run], store, cpu, Execution(micro_batch=8))
    summary = store.read_training(timed_run)
    assert summary["micro_batch"] == 4
    assert "conditions" not in summary
    assert summary["execution"] == "micro-batch 4"


def test_a_shorter_run_of_steps_made_elsewhere_is_no_start(tiny_run, store, cpu, hardware, capsys):
    train_together([tiny_run("dit", steps=3)], store, cpu)
    hardware("slide rule")
    train_together([tiny_run("dit", steps=5)], store, cpu)
    assert "continues" not in store.read_training(tiny_run("dit", steps=5))
    assert f"on {HERE}, not slide rule: its bits may differ" in capsys.readouterr().err
