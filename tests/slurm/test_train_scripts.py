"""The headers train_<suite>.sh over one body, what a task of their array trains, and tasks beyond the array."""

import os
import re
import shutil
import subprocess
import sys
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


def run_header(tmp_path, *flags, command="", **environment):
    """Run a copy of the scripts as a job would, with commands of Slurm that print; returns the process."""
    shutil.copytree(FOLDER, tmp_path / "it's a clone" / "slurm", ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "it's a clone" / "slurm" / "train_digits.sh"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "scontrol").write_text(f"""#!/bin/sh\necho "   Command={command or script} --models a b"\n""")
    (programs / "srun").write_text("""#!/bin/sh\nenv | grep ^SLURM_MEM >&2; printf '%s|' "$PWD" "$@"\n""")
    for program in programs.iterdir():
        program.chmod(0o755)
    (tmp_path / "from").mkdir()
    shutil.copyfile(script, tmp_path / "spooled")
    return subprocess.run(
        ["bash", tmp_path / "spooled", *flags],
        cwd=tmp_path / "from",
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "7",
            "SLURM_SUBMIT_DIR": str(tmp_path / "from"),
            "PYTHON": sys.executable,
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_script_submitted_from_another_folder_runs_its_clone_s_code_with_its_clone_s_default_folders(tmp_path):
    """Even if the folder of submission is another clone. The flags of the user come last, so they count."""
    (tmp_path / "from" / "slurm").mkdir(parents=True)
    (tmp_path / "from" / "slurm" / "train_body.sh").write_text("echo another clone\n")
    shutil.move(tmp_path / "from", tmp_path / "kept")
    result = run_header(tmp_path, "--results", "with space", SLURM_SUBMIT_DIR=str(tmp_path / "kept"))
    assert (result.returncode, result.stderr) == (0, "")
    folder, *words = result.stdout.split("|")[:-1]
    assert folder == str(tmp_path / "from")  # where relative paths are looked up
    clone = f"{tmp_path}/it's a clone"
    assert words[words.index(sys.executable) :] == [
        *(sys.executable, f"{clone}/slurm/train.py", "--suite", "digits", "--results", f"{clone}/results"),
        *("--prepared", f"{clone}/prepared", "--results", "with space"),
    ]
    assert "--export=ALL" in words


def test_a_copy_of_a_script_needs_the_root_of_the_repository(tmp_path):
    result = run_header(tmp_path, command="/nowhere/train_digits.sh")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: submit this script from the root of the repository\n"


def test_a_python_that_is_not_there_is_one_line(tmp_path):
    result = run_header(tmp_path, PYTHON="/no such/python")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "error: /no such/python: no such program; run `make install`, or name another with --export=ALL,PYTHON=PATH\n"
    )


@pytest.mark.parametrize(
    ("memory", "left"),
    [
        ({"SLURM_MEM_PER_NODE": "100"}, "SLURM_MEM_PER_NODE=100\n"),
        ({"SLURM_MEM_PER_NODE": "100", "SLURM_MEM_PER_CPU": "50"}, ""),  # one of them is of a job around it
    ],
)
def test_srun_gets_one_kind_of_memory(tmp_path, memory, left):
    assert run_header(tmp_path, **memory).stderr == left


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

    def run(command, **options):
        assert not any(name.startswith("SLURM_") for name in os.environ)
        if command[-1] == "config":
            return subprocess.CompletedProcess(command, 0, "MaxArraySize = 1001\n", "")
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


@pytest.fixture
def taking(ran, monkeypatch):
    """Makes sbatch take so many more tasks; returns the arrays that it took."""

    def make(room):
        left, taken, usual = [room], [], array_tasks.subprocess.run

        def run(command, **options):
            if command[0] != "sbatch":
                return usual(command, **options)
            first, last = map(int, command[2].removeprefix("--array=").split("-"))
            if last - first + 1 > left[0]:
                return subprocess.CompletedProcess(command, 1, "", "sbatch: error: no\nsbatch: error: submit limit\n")
            left[0] -= last - first + 1
            taken.append((first, last))
            return subprocess.CompletedProcess(command, 0, f"{7 + len(taken)}\n", "")

        monkeypatch.setattr(array_tasks.subprocess, "run", run)
        return taken

    return make


def test_a_refused_submission_is_one_line_and_no_error(taking, capsys):
    taking(0)
    submit_rest(3, [])
    assert capsys.readouterr().err == (
        "tasks 2-2 could not be submitted (no; submit limit): add them with --array=2-2 to the same command, or name "
        "their contenders in --models of another\n"
    )


def test_tasks_for_which_there_is_room_are_submitted_before_the_rest_is_refused(taking, capsys):
    taken = taking(3)
    submit_rest(8, [])
    assert taken == [(2, 4)]
    printed = capsys.readouterr()
    assert printed.out == "8 trainings: tasks 2-4 are submitted as job 8\n"
    assert printed.err.startswith("tasks 5-7 could not be submitted (no; submit limit): add them with --array=5-7 to")


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
