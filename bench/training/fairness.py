"""Whether trainings can be compared: equal seconds mean equal training only on equal machines, and on equal data."""

from collections.abc import Iterable
from typing import Any

from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.system.errors import BadInputError


def check_comparable(store: Store, runs: Iterable[TrainingRun]) -> None:
    """Refuse runs that were trained on different hardware, numbers of ranks, executions or data.

    Trainings whose budget is a number of steps may differ in all but data.

    Raises:
        BadInputError: names two runs and what differs.
    """
    first: tuple[TrainingRun, dict[str, Any]] | None = None
    for run in runs:
        if (summary := store.read_training(run)) is None:
            continue
        found = _conditions(run, summary)
        if first is None:
            first = run, found
        for name, value in found.items():
            if (other := first[1].get(name, value)) != value:
                raise BadInputError(
                    f"{run.name} was trained with {name} {value}, {first[0].name} with {other}: they are no equal "
                    "trainings; train one of them again, in another --results"
                )
        first = first[0], found | first[1]


def _conditions(run: TrainingRun, summary: dict[str, Any]) -> dict[str, Any]:
    """What has to be equal. Digests are shortened."""
    found = {name: str(summary[name])[:16] for name in ("data", "images", "vae") if summary.get(name)}
    if run.steps is None:
        environment = summary.get("environment", {})
        found["hardware"] = environment.get("hardware", "unknown")
        found["ranks"] = summary.get("ranks", 1)
        found["options"] = summary.get("execution") or "none"
    return found
