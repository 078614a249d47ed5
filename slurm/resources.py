"""What jobs ask of a cluster: profiles in slurm/profiles/*.toml, or a user's own file of the same form.

A file says what it needs to and leaves the rest at the defaults below, or at those of the shipped profile it is like:

    like = "v100"
    account = "my-project"
    constraint = "volta"
    [training]
    minutes = 2880
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import Any, get_type_hints

from bench.system.errors import BadInputError

SHIPPED = Path(__file__).parent / "profiles"


@dataclass(frozen=True)
class Resources:
    """Of one job, which is one array task, on one node."""

    ranks: int = 1
    """Processes; one GPU each where there are GPUs."""
    gpus: int = 0
    """Of the job: none, or as many as ranks."""
    cpus_per_rank: int = 1
    memory_gb: float | None = None
    """Of the job; None leaves it to the site's default."""
    minutes: int = 60
    """Time limit. What is not done by then goes on in a requeued job."""
    cells: int = 1
    """Cells that one job evaluates, one after the other. Training has no use for it."""


@dataclass(frozen=True)
class Profile:
    """One kind of node and a site's names for it. Raises BadInputError where numbers cannot be."""

    name: str
    training: Resources
    evaluation: Resources
    partition: str | None = None
    constraint: str | None = None
    account: str | None = None
    qos: str | None = None
    signal_s: int = 120
    """Seconds before the time limit at which tasks are told to save; Slurm may tell them a minute earlier still."""
    setup: tuple[str, ...] = ()
    """Shell lines before srun: modules to load, variables to set."""
    parallel: int = 64
    """Array tasks that may run at once."""
    gpu_gib: float | None = None
    """Memory of one GPU, to say in a plan what fits."""

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
            raise self._bad("training.cells", self.training.cells, "1, for only evaluation has cells")

    def _positive(self, key: str, value: float | None) -> None:
        if value is not None and not 0 < value < inf:
            raise self._bad(key, value, "a positive number")

    def _bad(self, key: str, value: object, right: str) -> BadInputError:
        return BadInputError(f"profile {self.name}: {key} = {value!r}; it should be {right}")


def shipped_profiles() -> tuple[str, ...]:
    """Names that load_profile takes."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load_profile(name_or_path: str) -> Profile:
    """The profile of a shipped name, or of a TOML file. Raises BadInputError in one line for what it cannot use."""
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
    hints = get_type_hints(Profile)
    values: dict[str, Any] = {"name": name, "training": {}, "evaluation": {}}
    for key, value in table.items():
        if key == "name" or key not in hints:
            raise _unknown(name, key, [field.name for field in fields(Profile) if field.name != "name"] + ["like"])
        values[key] = _typed(name, key, value, dict if hints[key] is Resources else hints[key])
    for part in ("training", "evaluation"):
        values[part] = _resources(name, part, values[part])
    return Profile(**values)


def _resources(name: str, part: str, table: Mapping[str, Any]) -> Resources:
    hints = get_type_hints(Resources)
    for key in table:
        if key not in hints:
            raise _unknown(name, f"{part}.{key}", list(hints))
    values: dict[str, Any] = {key: _typed(name, f"{part}.{key}", value, hints[key]) for key, value in table.items()}
    return Resources(**values)


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


def _typed(name: str, key: str, value: object, hint: Any) -> object:
    """The value, if it has the type that the field says; TOML has neither None nor tuples."""
    if hint == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            return tuple(value)
    elif isinstance(value, int | float if hint == float | None else hint) and not isinstance(value, bool):
        return value
    raise BadInputError(f"profile {name}: {key} = {value!r}; it should be {_WORDS[hint]}")


def _unknown(name: str, key: str, known: list[str]) -> BadInputError:
    return BadInputError(f"profile {name}: unknown key {key}; it should be one of {', '.join(known)}")


def submitit_parameters(profile: Profile, resources: Resources, job_name: str) -> dict[str, Any]:
    """Keyword arguments for `submitit.AutoExecutor(folder, cluster="slurm").update_parameters`.

    Jobs may be requeued, and submitit appends to their logs. CPUs per task are said twice, because srun no longer
    takes them over from sbatch (since Slurm 22.05).
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
        "slurm_srun_args": [f"--cpus-per-task={resources.cpus_per_rank}", "--kill-on-bad-exit=1"],
        "slurm_additional_parameters": {"requeue": True},
    }
    return {key: value for key, value in parameters.items() if value is not None}
