"""The array of a script train_<suite>.sh: task i trains run i, and runs beyond its last task get tasks of their own.

Its header asks for as many tasks as the suite has contenders by default; --models may name more or fewer.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.spec.cells import TrainingRun
from slurm.commands import NoAnswerError, RefusedError, ask, in_parts, outside_job, refusal
from slurm.jobs import this_job

# option of sbatch that may differ from the header -> its value's name in the environment, or in `scontrol show job`
BY_ENVIRONMENT = {
    "--ntasks": "SLURM_NTASKS",
    "--ntasks-per-node": "SLURM_NTASKS_PER_NODE",
    "--cpus-per-task": "SLURM_CPUS_PER_TASK",
    "--gpus-per-node": "SLURM_GPUS_PER_NODE",
    "--mem": "SLURM_MEM_PER_NODE",
    "--mem-per-cpu": "SLURM_MEM_PER_CPU",
    "--mem-per-gpu": "SLURM_MEM_PER_GPU",
}
BY_SCONTROL = {
    "--partition": "Partition",
    "--account": "Account",
    "--qos": "QOS",
    "--nodes": "NumNodes",
    "--time": "TimeLimit",
    "--constraint": "Features",
}


def runs_of_task(runs: Sequence[TrainingRun]) -> Sequence[TrainingRun]:
    """The runs that this process trains: all; in an array the one with the task's index, if there is one."""
    if "SLURM_ARRAY_TASK_ID" not in os.environ:
        return runs
    index = int(os.environ["SLURM_ARRAY_TASK_ID"])
    return runs[index : index + 1]


def submit_rest(count: int, flags: Sequence[str]) -> None:
    """Submit tasks for the runs beyond this array: the same script, with its flags and this job's options.

    Only the first task of the array does this, when it starts for the first time. An array that is not the header's
    (`sbatch --array=0`) was asked for as it is. If the tasks cannot be submitted, a line says so.

    Args:
        count: number of runs.
        flags: what the script passes on to bench/train.py.
    """
    indices = [os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX")]
    if indices[:2] != ["0", "0"] or os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
        return
    last = int(indices[2] or 0)
    if count <= last + 1:
        return
    rest = range(last + 1, count)
    try:
        job = ask("scontrol", "show", "job", this_job())
        script = re.search(r"Command=(.+?\.sh)(?: |$)", job, re.MULTILINE)
        if script is None:
            raise OSError("its script has no name that ends in .sh")
        header = Path(script[1]).read_text()
        if f"#SBATCH --array=0-{last}\n" not in header or "train_body.sh" not in header:
            return
        for part, (array,) in in_parts(rest, lambda part: [_sbatch(part, *_options(job), script[1], *flags)]):
            print(f"{count} trainings: tasks {part[0]}-{part[-1]} are submitted as job {array}", flush=True)
            rest = rest[len(part) :]
    except (OSError, subprocess.TimeoutExpired, NoAnswerError, RefusedError) as error:
        print(
            f"tasks {rest[0]}-{rest[-1]} could not be submitted ({error}): add them with --array={rest[0]}-{rest[-1]} "
            "to the same command, or name their contenders in --models of another",
            file=sys.stderr,
        )


def _options(job: str) -> list[str]:
    """The options of this job, where `job` is what scontrol shows of it."""
    found = {option: os.environ.get(name) for option, name in BY_ENVIRONMENT.items()}
    for option, name in BY_SCONTROL.items():
        value = re.search(rf"\b{name}=(\S*)", job)
        found[option] = None if value is None else value[1].replace("(null)", "")
    chosen = {option: value for option, value in found.items() if value or (option == "--constraint" and value == "")}
    return [f"{option}={value}" for option, value in chosen.items()]


def _sbatch(indices: Sequence[int], *arguments: str) -> str:
    """Submit an array of tasks with these indices; returns its id. RefusedError if Slurm refuses it."""
    command = ["sbatch", "--parsable", f"--array={indices[0]}-{indices[-1]}", *arguments]
    with outside_job():
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if result.returncode:
        raise refusal(result.stderr)
    return result.stdout.strip()
