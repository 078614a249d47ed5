"""The jobs that a submission makes, without a Slurm."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit

from bench.evaluation.executors import Work
from bench.evaluation.plan import needed_runs
from bench.spec.arguments import Places, Running
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.store.records import Store
from bench.system.errors import BadInputError
from slurm import commands, jobs, submit
from slurm.resources import Resources, load_profile
from slurm.tasks import CellsTask, TrainingTask


@pytest.fixture
def queued(monkeypatch, tmp_path):
    """What was queued, in order: (tasks, ids of their jobs, id of the job that they wait for)."""
    found, live = [], {}

    def queue(self, what, resources, tasks, code, after=None):
        ids = [f"{len(found)}_{i}" for i in range(len(tasks))]
        found.append((tasks, ids, after))
        live.update(dict.fromkeys(ids, "PENDING"))
        yield tasks, ids

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


@pytest.fixture
def sbatch(monkeypatch, store):
    """A Slurm that takes arrays of up to 3 tasks while it has room; returns the room and what was asked of it."""
    state = SimpleNamespace(room=10**6, refusal="limit", arrays=[], live={})

    def command(arguments, **options):
        def submitted():
            assert "SLURM_JOB_ID" not in os.environ
            text = Path(arguments[1]).read_text()
            array = re.search(r"--array=0-(\d+)%", text)
            count = int(array[1]) + 1 if array else 1
            if count > state.room:
                print(state.refusal, file=sys.stderr)  # as submitit does
                raise submitit.core.utils.FailedJobError(state.refusal)
            state.room -= count
            state.arrays.append((count, text))
            job = str(100 + len(state.arrays))
            state.live |= {f"{job}_{i}" if array else job: "PENDING" for i in range(count)}
            return f"Submitted batch job {job}"

        return submitted

    monkeypatch.setenv("SLURM_JOB_ID", "7")  # a submission from inside a job
    monkeypatch.setattr(submitit.core.utils, "CommandFunction", command)
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    monkeypatch.setattr(submitit.SlurmExecutor, "_throttle", lambda self: None)
    monkeypatch.setattr(commands, "largest_array", lambda: 3)
    monkeypatch.setattr(jobs, "live_jobs", lambda: dict(state.live))
    monkeypatch.setattr(submit, "take_snapshot", lambda folder: folder / "it's here")
    return state


@pytest.fixture
def grid(tiny_suite, store):
    """A submission and 12 cells of two trainings, one cell a task."""
    profile = replace(load_profile("local"), evaluation=Resources())
    found = get_cells("smoothing", tiny_suite, Selection(seeds=(0, 1), models=("fpdm",)))
    cells = [cell for seed in (0, 1) for cell in [cell for cell in found if cell.run and cell.run.seed == seed][:6]]
    assert len(cells) == len({cell.key for cell in cells}) == 12
    return submit.Submission(tiny_suite, store, profile, Running(), Places()), cells


def ledger(store):
    path = store.root / "slurm" / "jobs.json"
    return json.loads(path.read_text()) if path.exists() else {}


def unfinished(store):
    """Files of a submission that no job has."""
    folder = store.root / "slurm" / "logs"
    return [p for p in folder.glob("*") if p.stem.isalnum() and len(p.stem) == 32] + [
        p for p in folder.glob(".submission_file_*") if not p.is_symlink()
    ]


def test_cells_are_split_into_arrays_that_fit_and_all_wait_for_their_training(sbatch, grid, store):
    submission, cells = grid
    assert submission.submit(cells) == (2, 12)
    assert [count for count, _ in sbatch.arrays] == [2, 3, 3, 3, 3]
    found = ledger(store)
    assert sorted(found.values()) == sorted(
        ["101_0", "101_1"] + [f"{a}_{i}" for a in range(102, 106) for i in range(3)]
    )
    for cell in cells:
        _, text = sbatch.arrays[int(found[cell.key].split("_")[0]) - 101]
        assert f"--dependency=afterok:{found[cell.run.name]}\n" in text
    assert not unfinished(store)


def test_a_refusal_half_way_loses_nothing_and_the_same_command_goes_on(sbatch, grid, store, capsys):
    submission, cells = grid
    sbatch.room, sbatch.refusal = 6, "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: no: submit limit\n"
    with pytest.raises(BadInputError) as error:
        submission.submit(cells)
    assert str(error.value) == (
        "--profile local: Slurm refuses the job (QOSMaxSubmitJobPerUserLimit; no: submit limit); 2 training(s) and "
        "4 cell(s) are queued, 8 are left: run the same command again later"
    )
    assert capsys.readouterr().err == ""  # submitit's own line is not printed beside it
    assert len(ledger(store)) == 6
    assert not unfinished(store)
    sbatch.room = 100
    before = ledger(store)
    assert submission.submit(cells) == (0, 8)
    assert ledger(store).items() >= before.items()
    assert set(ledger(store)) == {cell.key for cell in cells} | {cell.run.name for cell in cells}


def test_a_refusal_of_all_leaves_no_files(sbatch, grid, store):
    submission, cells = grid
    sbatch.room, sbatch.refusal = 0, "sbatch: error: invalid partition specified: x\n"
    with pytest.raises(
        BadInputError, match=r"^--profile local: Slurm refuses the job \(invalid partition specified: x\)$"
    ):
        submission.submit(cells)
    assert not ledger(store)
    assert not unfinished(store)


def test_jobs_find_their_copy_of_the_code_before_what_the_user_has_on_the_path(sbatch, grid, tmp_path):
    submission, cells = grid
    submission.submit(cells[:1])
    _, text = sbatch.arrays[0]
    lines = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("export PYTHON"))
    for path, rest in (("", ""), ("/my modules", ":/my modules")):
        told = subprocess.run(
            ["bash", "-c", f'{lines}echo "$PYTHONPATH"'], env={"PYTHONPATH": path}, capture_output=True, text=True
        ).stdout
        assert told == f"{submission.store.root}/slurm/code/it's here{rest}\n"
    assert "--export=ALL" in text  # for srun, where sbatch was told to export nothing


@pytest.mark.parametrize("name", ["50%j", "a:b"])
def test_a_folder_whose_name_slurm_or_python_would_read_otherwise_is_refused(name, tiny_suite, tmp_path):
    work = Work(tiny_suite, Store(tmp_path / name, "digits"), Running(), Places(), profile="local")
    with pytest.raises(BadInputError, match=f"--results {tmp_path}/{name}/digits: .* choose a folder without it"):
        submit.Slurm(work).check()


def test_a_training_task_trains_its_runs_one_from_the_other(tiny_run, store):
    runs = [tiny_run("dit", steps) for steps in (2, 4)]
    assert TrainingTask(runs, store, Running(device="cpu"), Places())() == {run.name: "done" for run in runs}
    assert store.read_training(runs[1])["continues"] == runs[0].name


def test_seconds_of_a_chain_are_those_of_its_longest(tiny_suite):
    from bench.training.runs import training_seconds

    selections = [Selection(train_seconds=seconds, seeds=(0, 1)) for seconds in (25, 100, 50)]
    runs = needed_runs(cell for one in selections for cell in get_cells("reuse", tiny_suite, one))
    assert len(runs) == 6
    assert training_seconds(runs) == 200
    assert training_seconds(needed_runs(get_cells("reuse", tiny_suite, Selection(train_steps=9)))) == 0
