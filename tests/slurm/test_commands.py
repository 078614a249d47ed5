"""Slurm's commands: what of the environment they get, questions without answers, arrays that fit."""

import os
import subprocess

import pytest

from slurm import commands, jobs
from slurm.commands import NoAnswerError, RefusedError, ask, in_parts, largest_array, refusal

CONFIG = """Configuration data as of 2026-01-01T00:00:00
AccountingStorageEnforce = none
MaxArraySize            = {size}
MaxJobCount             = 10000
SchedulerParameters     = bf_interval=1{more}
"""
SUBMIT_LIMIT = (
    "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size "
    "and/or time limits)\n"
)


@pytest.fixture
def answers(monkeypatch):
    """Makes Slurm's commands print a text; returns the environments that they got."""
    seen = []

    def make(text, status=0, error=""):
        def run(command, **options):
            seen.append(dict(os.environ))
            return subprocess.CompletedProcess(command, status, text, error)

        monkeypatch.setattr(commands.subprocess, "run", run)
        return seen

    return make


def test_commands_see_the_cluster_and_the_user_s_defaults_but_no_job(answers, monkeypatch):
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "big", "SBATCH_ACCOUNT": "me", "SETUP": "modules.sh"}
    dropped = {
        "SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "3", "SLURM_MEM_PER_CPU": "50",
        "SLURM_CPUS_PER_TASK": "4", "SLURM_EXPORT_ENV": "NONE", "SLURMD_NODENAME": "n1", "SRUN_DEBUG": "3",
        "SBATCH_CPU_BIND": "quiet", "SBATCH_MEM_BIND": "local", "SUBMITIT_EXECUTOR": "slurm", "RANK": "1",
        "SQUEUE_STATES": "all", "SQUEUE_FORMAT2": "JobID",
    }  # fmt: skip
    for name, value in {**kept, **dropped}.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    seen = answers("printed")
    assert ask("scontrol") == "printed"
    assert {name: seen[0].get(name) for name in {**kept, **dropped}} == {**dict.fromkeys(dropped), **kept}
    assert dict(os.environ) == before


def test_jobs_are_read_where_slurm_names_its_clusters(answers, monkeypatch):
    monkeypatch.setattr(jobs.shutil, "which", lambda name: name)
    answers("CLUSTER: big\n7_0|RUNNING\n7_1|PENDING\n\nCLUSTER: small\n8|COMPLETING\n")
    assert jobs.live_jobs() == {"7_0": "RUNNING", "7_1": "PENDING", "8": "COMPLETING"}


@pytest.mark.parametrize(("status", "error", "said"), [(1, "slurm_load_jobs\nerror: no\n", "error: no"), (3, "", "3")])
def test_a_command_that_fails_is_no_answer(answers, status, error, said):
    answers("", status, error)
    with pytest.raises(NoAnswerError, match=said) as told:
        ask("squeue")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "none"), subprocess.TimeoutExpired("squeue", 60)])
def test_a_command_that_is_missing_or_slow_is_no_answer(monkeypatch, error):
    def run(*command, **options):
        raise error

    monkeypatch.setattr(commands.subprocess, "run", run)
    with pytest.raises(NoAnswerError, match="Slurm does not answer"):
        ask("squeue")


@pytest.mark.parametrize(
    ("size", "more", "largest"), [(1001, "", 1001), (1001, ",max_array_tasks=200", 200), (0, "", 1)]
)
def test_the_largest_array_is_the_configuration_s(answers, size, more, largest):
    answers(CONFIG.format(size=size, more=more))
    assert largest_array() == largest


def submitter(room, refused=SUBMIT_LIMIT):
    """A queue that takes so many tasks, and the sizes of the arrays that it was asked to take."""
    asked, left = [], [room]

    def submit(part):
        asked.append(len(part))
        if len(part) > left[0]:
            raise refusal(refused)
        left[0] -= len(part)
        return [f"{len(asked)}_{i}" for i in range(len(part))]

    return submit, asked


def test_tasks_are_split_into_arrays_that_fit(monkeypatch):
    monkeypatch.setattr(commands, "largest_array", lambda: 4)
    submit, asked = submitter(100)
    parts = list(in_parts(range(10), submit))
    assert [list(part) for part, _ in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [job for _, found in parts for job in found] == [f"{i // 4 + 1}_{i % 4}" for i in range(10)]
    assert asked == [4, 4, 2]


def test_a_queue_with_a_limit_is_filled_before_the_rest_is_refused(monkeypatch):
    monkeypatch.setattr(commands, "largest_array", lambda: 1000)
    submit, asked = submitter(21)
    queued, parts = [], in_parts(range(50), submit)

    def take():
        for part, _ in parts:
            queued.extend(part)

    with pytest.raises(RefusedError, match="QOSMaxSubmitJobPerUserLimit; Batch job submission failed: Job violates"):
        take()
    assert queued == list(range(21))
    assert len(asked) < 12


def test_a_refusal_for_another_reason_is_not_tried_again(monkeypatch):
    monkeypatch.setattr(commands, "largest_array", lambda: 1000)
    submit, asked = submitter(0, "sbatch: error: Batch job submission failed: Invalid partition name specified\n")
    with pytest.raises(RefusedError, match=r"^Batch job submission failed: Invalid partition name specified$"):
        next(in_parts(range(50), submit))
    assert asked == [50]


def test_one_task_needs_no_question(monkeypatch):
    monkeypatch.setattr(commands, "ask", None)
    submit, _ = submitter(1)
    assert list(in_parts(["task"], submit)) == [(["task"], ["1_0"])]
