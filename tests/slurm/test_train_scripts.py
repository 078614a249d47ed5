"""The headers train_<suite>.sh over one body, what a task of their array trains, and tasks beyond the array."""

import re
import subprocess
from pathlib import Path

import pytest

from bench.spec.arguments import What
from bench.spec.suites import SUITES
from bench.train import Arguments
from slurm import array_tasks
from slurm.array_tasks import runs_of_task, submit_rest
from slurm.train import main

FOLDER = Path(__file__).parents[2] / "slurm"


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_a_header_that_asks_for_its_gpus(name):
    text = (FOLDER / f"train_{name}.sh").read_text()
    assert text.rstrip().endswith(f' {name} "$@"')
    ranks = int(re.search(r"--ntasks(?:-per-node)?=(\d+)", text)[1])
    assert ranks == SUITES[name].gpus
    assert f"#SBATCH --array=0-{len(Arguments(What(suite=name)).runs()) - 1}\n" in text


def test_headers_name_their_own_file_and_no_model():
    headers = sorted(FOLDER.glob("train_*.sh"))
    assert len(headers) == len(SUITES) + 1
    for path in headers:
        text = path.read_text()
        assert not re.search(r"\b(dit|fpdm)\b", text)
        if path.name == "train_body.sh":
            assert len(re.findall(r"^srun ", text, re.MULTILINE)) == 1
        else:
            assert rf"/train_\){path.stem.removeprefix('train_')}.sh" in text
            assert "srun" not in text


JOB = """JobId=7 ArrayJobId=6 ArrayTaskId=0 JobName=digits-train
   Priority=1 Nice=0 Account=me QOS=(null)
   RunTime=00:00:01 TimeLimit=1-00:00:00 TimeMin=N/A
   Partition=debug AllocNode:Sid=localhost:9188
   NumNodes=1-1 NumCPUs=1 NumTasks=1 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
   Features=a100 DelayBoot=00:00:00
   Command={script} --models a b c
   WorkDir=/somewhere"""


@pytest.fixture
def ran(monkeypatch):
    """Commands of Slurm that ran, in the first task of an array of two; sbatch says 8."""
    commands = []

    def run(command, env, **options):
        assert not any(name.startswith("SLURM_") for name in env)
        commands.append(list(command))
        text = "8\n" if command[0] == "sbatch" else JOB.format(script=FOLDER / "train_digits.sh")
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(array_tasks.subprocess, "run", run)
    environment = {"JOB_ID": 7, "ARRAY_JOB_ID": 6, "ARRAY_TASK_ID": 0, "ARRAY_TASK_MIN": 0, "ARRAY_TASK_MAX": 1}
    for name, value in {**environment, "NTASKS_PER_NODE": 8, "PROCID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    return commands


def test_runs_beyond_the_array_get_tasks_with_its_script_flags_and_options(ran, capsys):
    submit_rest(4, ["--models", "a", "b", "c", "d", "--results", "with space"])
    assert ran == [
        ["scontrol", "show", "job", "6_0"],
        [
            *("sbatch", "--parsable", "--array=2-3", "--ntasks-per-node=8", "--partition=debug", "--account=me"),
            *("--nodes=1-1", "--time=1-00:00:00", "--constraint=a100", str(FOLDER / "train_digits.sh")),
            *("--models", "a", "b", "c", "d", "--results", "with space"),
        ],
    ]
    assert capsys.readouterr().out == "4 trainings: tasks 2-3 are submitted as job 8\n"


@pytest.mark.parametrize(
    ("count", "environment"),
    [
        (2, {}),  # a task for each
        (1, {}),
        (4, {"ARRAY_TASK_ID": "1"}),  # not the first task
        (4, {"RESTART_COUNT": "1"}),  # requeued
        (4, {"ARRAY_TASK_MAX": "0"}),  # sbatch --array=0: so it was asked for
        (5, {"ARRAY_TASK_ID": "2", "ARRAY_TASK_MIN": "2", "ARRAY_TASK_MAX": "3"}),
    ],
)
def test_nothing_is_submitted_otherwise(count, environment, ran, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    submit_rest(count, [])
    assert not any(command[0] == "sbatch" for command in ran)


def test_a_refused_submission_is_one_line_and_no_error(ran, monkeypatch, capsys):
    def refuse(command, **options):
        raise subprocess.CalledProcessError(1, command, stderr="sbatch: error: no\nsubmission\n")

    monkeypatch.setattr(array_tasks.subprocess, "run", refuse)
    submit_rest(3, [])
    assert capsys.readouterr().err == (
        "tasks 2-2 could not be submitted (sbatch: error: no submission): add them with --array=2-2 to the same "
        "command\n"
    )


def test_the_index_of_an_array_task_chooses_the_run(monkeypatch, tiny_run):
    runs = [tiny_run("dit"), tiny_run("fpdm")]
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    assert runs_of_task(runs) == runs
    for index, expected in enumerate([runs[:1], runs[1:], []]):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))
        assert runs_of_task(runs) == expected


def test_a_task_without_a_run_ends_with_one_line_and_status_0(ran, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setattr("slurm.train.set_ranks", lambda: None)
    assert main(["--suite", "digits", "--models", "fpdm", "--results", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("array task 1 has nothing to do: 1 training(s)\n", "")
    assert not list(tmp_path.iterdir())
    assert not ran
