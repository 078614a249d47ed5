"""Profiles: the resources that jobs request, from slurm/profiles/*.toml or a user's own file of the same form.

A key that a file leaves out has the default below, or the value of the shipped profile that `like` names:

    like = "v100"
    account = "my-project"
    constraint = "volta"
    [training]
    minutes = 2880
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, get_type_hints

from bench.spec.contenders import SAMPLING_DTYPES
from bench.system.errors import BadInputError

SHIPPED = Path(__file__).parent / "profiles"


@dataclass(frozen=True)
class Resources:
    """What one job requests. A job is one array task, on one node.

    Attributes:
        ranks: processes; on GPUs, one for each GPU.
        gpus: GPUs of the job: 0 or `ranks`.
        cpus_per_rank: CPU cores of each rank.
        memory_gb: memory of the job in GB; None requests the site's default.
        minutes: time limit. Work that is not done by then resumes in a requeued job.
        cells: cells that one job evaluates, one after the other; 1 for training.
    """

    ranks: int = 1
    gpus: int = 0
    cpus_per_rank: int = 1
    memory_gb: float | None = None
    minutes: int = 60
    cells: int = 1


@dataclass(frozen=True)
class Profile:
    """One kind of node, and the site's names for it. Raises BadInputError for impossible numbers.

    Attributes:
        name: the shipped name or the path of the file.
        training, evaluation: what jobs of each kind request.
        partition, constraint, account, qos: the site's names, as for sbatch.
        signal_s: seconds before the time limit at which Slurm signals tasks to save; it may do so a minute earlier.
        setup: shell lines that run before srun, such as `module load`.
        parallel: array tasks that may run at the same time.
        gpu_gib: memory of one GPU in GiB; a plan says what fits into it.
        dtypes: those that it computes in.
    """

    name: str
    training: Resources
    evaluation: Resources
    partition: str | None = None
    constraint: str | None = None
    account: str | None = None
    qos: str | None = None
    signal_s: int = 120
    setup: tuple[str, ...] = ()
    parallel: int = 64
    gpu_gib: float | None = None
    dtypes: tuple[str, ...] = SAMPLING_DTYPES

    def __post_init__(self) -> None:
        for part, resources in (("training", self.training), ("evaluation", self.evaluation)):
            for key in ("ranks", "cpus_per_rank", "memory_gb", "minutes", "cells"):
                self._positive(f"{part}.{key}", getattr(resources, key))
            if resources.gpus not in (0, resources.ranks):
                raise self._bad(f"{part}.gpus", resources.gpus, f"0, or one for each of the {resources.ranks} ranks")
            if self.signal_s >= 60 * resources.minutes:
                raise self._bad(
                    "signal_s", self.signal_s, f"less than the {60 * resources.minutes} s of {part}.minutes"
                )
        for key in ("signal_s", "parallel", "gpu_gib"):
            self._positive(key, getattr(self, key))
        if self.training.cells != 1:
            raise self._bad("training.cells", self.training.cells, "1: a training job evaluates no cells")

    def _positive(self, key: str, value: float | None) -> None:
        if value is not None and not 0 < value < inf:
            raise self._bad(key, value, "a positive number")

    def _bad(self, key: str, value: object, right: str) -> BadInputError:
        return BadInputError(f"profile {self.name}: {key} = {value!r}; it should be {right}")


def shipped_profiles() -> tuple[str, ...]:
    """Names of the profiles in slurm/profiles."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load_profile(name_or_path: str) -> Profile:
    """Load the profile of a shipped name or of a TOML file. Raises BadInputError, one line, for unusable values."""
    name, table = name_or_path, _read(name_or_path)
    if "like" in table:
        like = table.pop("like")
        if like not in shipped_profiles():
            raise BadInputError(f"profile {name}: like = {like!r}; it should be one of {', '.join(shipped_profiles())}")
        base = _read(like)
        parts = {
            part: base.get(part, {}) | table[part]
            for part in ("training", "evaluation")
            if isinstance(table.get(part), dict)
        }
        table = base | table | parts
    hints = get_type_hints(Profile) | {"training": dict, "evaluation": dict, "like": str}
    del hints["name"]
    values = _typed(name, "", table, hints)
    for part in ("training", "evaluation"):
        values[part] = Resources(**_typed(name, f"{part}.", values.get(part, {}), get_type_hints(Resources)))
    return Profile(name=name, **values)


def _read(name_or_path: str) -> dict[str, Any]:
    path = Path(name_or_path)
    if name_or_path in shipped_profiles():
        path = SHIPPED / f"{name_or_path}.toml"
    elif path.suffix != ".toml":
        raise BadInputError(
            f"profile {name_or_path}: it should be one of {', '.join(shipped_profiles())}, or a .toml file"
        )
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise BadInputError(f"profile {name_or_path}: cannot read it ({reason})") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(f"profile {name_or_path}: not TOML ({error})") from error


_WORDS = {
    int: "a whole number",
    float | None: "a number",
    str | None: "a text",
    tuple[str, ...]: "a list of texts",
    dict: "a table",
}


def _typed(name: str, prefix: str, table: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a table, with lists as tuples. BadInputError for an unknown key or a value of another type."""
    values = {}
    for key, value in table.items():
        if key not in hints:
            raise BadInputError(f"profile {name}: unknown key {prefix}{key}; it should be one of {', '.join(hints)}")
        hint = hints[key]
        if hint == tuple[str, ...]:
            right = isinstance(value, list) and all(isinstance(line, str) for line in value)
        else:  # isinstance(True, int) holds
            right = isinstance(value, int | float if hint == float | None else hint) and not isinstance(value, bool)
        if not right:
            raise BadInputError(f"profile {name}: {prefix}{key} = {value!r}; it should be {_WORDS[hint]}")
        values[key] = tuple(value) if isinstance(value, list) else value
    return values


def submitit_parameters(profile: Profile, resources: Resources, job_name: str) -> dict[str, Any]:
    """Keyword arguments for `submitit.AutoExecutor(folder, cluster="slurm").update_parameters`.

    Jobs may be requeued, and submitit appends to their logs. srun does not inherit the CPUs per task from sbatch since
    Slurm 22.05, nor the environment where sbatch was told to export nothing (SBATCH_EXPORT): it gets them again.
    """
    parameters = {
        "name": job_name,
        "nodes": 1,
        "tasks_per_node": resources.ranks,
        "gpus_per_node": resources.gpus or None,
        "cpus_per_task": resources.cpus_per_rank,
        "mem_gb": resources.memory_gb,
        "timeout_min": resources.minutes,
        "stderr_to_stdout": True,
        "slurm_partition": profile.partition,
        "slurm_constraint": profile.constraint,
        "slurm_account": profile.account,
        "slurm_qos": profile.qos,
        "slurm_signal_delay_s": profile.signal_s,
        "slurm_setup": list(profile.setup) or None,
        "slurm_array_parallelism": profile.parallel,
        "slurm_srun_args": [f"--cpus-per-task={resources.cpus_per_rank}", "--kill-on-bad-exit=1", "--export=ALL"],
        "slurm_additional_parameters": {"requeue": True},
    }
    return {key: value for key, value in parameters.items() if value is not None}
