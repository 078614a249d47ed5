"""The jobs that a submission makes, without a Slurm."""

import json

import pytest

from bench.evaluation.plan import needed_runs
from bench.spec.arguments import Places, Running
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from slurm import jobs, submit
from slurm.resources import load_profile
from slurm.tasks import CellsTask, TrainingTask


@pytest.fixture
def queued(monkeypatch, tmp_path):
    """What was queued, in order: (tasks, ids of their jobs, id of the job that they wait for)."""
    found, live = [], {}

    def queue(self, what, resources, tasks, code, after=None):
        ids = [f"{len(found)}_{i}" for i in range(len(tasks))]
        found.append((tasks, ids, after))
        live.update(dict.fromkeys(ids, "PENDING"))
        return ids

    monkeypatch.setattr(submit.Submission, "_queue", queue)
    monkeypatch.setattr(submit, "take_snapshot", lambda folder: folder)
    monkeypatch.setattr(jobs, "live_jobs", lambda: dict(live))
    return found


def test_runs_that_differ_only_in_length_are_one_job_and_their_cells_wait_for_it(queued, tiny_suite, store):
    def cells_of(seconds, model):
        return get_cells("compute", tiny_suite, Selection(train_seconds=seconds, seeds=(0,), models=(model,)))

    asked = [(100, "dit"), (25, "fpdm"), (25, "dit"), (400, "dit"), (100, "fpdm")]
    cells = [cell for seconds, model in asked for cell in cells_of(seconds, model) if cell.run is not None]
    submission = submit.Submission(tiny_suite, store, load_profile("local"), Running(), Places())
    assert submission.submit(cells) == (5, len(cells))
    (tasks, ids, after), *evaluations = queued
    assert all(isinstance(task, TrainingTask) for task in tasks)
    assert [[(run.model, run.budget) for run in task.runs] for task in tasks] == [
        [("dit", 25), ("dit", 100), ("dit", 400)],
        [("fpdm", 25), ("fpdm", 100)],
    ]
    assert after is None
    job_of = {run.name: job for task, job in zip(tasks, ids, strict=True) for run in task.runs}
    waited = {}
    for chunks, _, after in evaluations:
        assert all(isinstance(task, CellsTask) for task in chunks)
        (name,) = {cell.run.name for task in chunks for cell in task.cells}
        waited[name] = after
    assert waited == job_of
    ledger = json.loads((store.root / "slurm" / "jobs.json").read_text())
    assert {name: ledger[name] for name in job_of} == job_of
    assert submission.submit(cells) == (0, 0)  # all of it is being worked on


def test_a_training_task_trains_its_runs_one_from_the_other(tiny_run, store):
    runs = [tiny_run("dit", steps) for steps in (2, 4)]
    assert TrainingTask(runs, store, Running(device="cpu"), Places())() == {run.name: "done" for run in runs}
    assert store.read_training(runs[1])["continues"] == runs[0].name


def test_seconds_of_a_chain_are_those_of_its_longest(tiny_suite):
    from bench.training.chains import training_seconds

    selections = [Selection(train_seconds=seconds, seeds=(0, 1)) for seconds in (25, 100, 50)]
    runs = needed_runs(cell for one in selections for cell in get_cells("reuse", tiny_suite, one))
    assert len(runs) == 6
    assert training_seconds(runs) == 200
    assert training_seconds(needed_runs(get_cells("reuse", tiny_suite, Selection(train_steps=9)))) == 0
