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
from slurm.jobs import this_job

# option of sbatch that may differ from the header -> its value's name in the environment, or in `scontrol show job`
BY_ENVIRONMENT = {
    "--ntasks": "SLURM_NTASKS",
    "--ntasks-per-node": "SLURM_NTASKS_PER_NODE",
    "--cpus-per-task": "SLURM_CPUS_PER_TASK",
    "--gpus-per-node": "SLURM_GPUS_PER_NODE",
    "--mem": "SLURM_MEM_PER_NODE",
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
    rest = f"{last + 1}-{count - 1}"
    try:
        job = _output("scontrol", "show", "job", this_job())
        script = re.search(r"Command=(.+?\.sh)(?: |$)", job, re.MULTILINE)
        if script is None:
            raise OSError("its script has no name that ends in .sh")
        header = Path(script[1]).read_text()
        if f"#SBATCH --array=0-{last}\n" not in header or "train_body.sh" not in header:
            return
        array = _output("sbatch", "--parsable", f"--array={rest}", *_options(job), script[1], *flags)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        print(
            f"tasks {rest} could not be submitted ({' '.join(reason.split())}): add them with --array={rest} to the "
            "same command",
            file=sys.stderr,
        )
    else:
        print(f"{count} trainings: tasks {rest} are submitted as job {array.strip()}", flush=True)


def _options(job: str) -> list[str]:
    """The options of this job, where `job` is what scontrol shows of it."""
    found = {option: os.environ.get(name) for option, name in BY_ENVIRONMENT.items()}
    for option, name in BY_SCONTROL.items():
        value = re.search(rf"\b{name}=(\S*)", job)
        found[option] = None if value is None else value[1].replace("(null)", "")
    chosen = {option: value for option, value in found.items() if value or (option == "--constraint" and value == "")}
    return [f"{option}={value}" for option, value in chosen.items()]


def _output(*command: str) -> str:
    """What a command of Slurm prints. Variables of this job are kept from it, or the new one would get them."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
    return subprocess.run(command, env=ours, capture_output=True, text=True, check=True, timeout=60).stdout
