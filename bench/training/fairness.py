"""Check that trainings can be compared: equal seconds mean equal training only on equal machines, and on equal data."""

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
    known: dict[str, tuple[TrainingRun, Any]] = {}
    for run in runs:
        summary = store.read_training(run)
        for name, value in _conditions(run, summary).items() if summary else ():
            first, expected = known.setdefault(name, (run, value))
            if value != expected:
                raise BadInputError(
                    f"{run.name} was trained with {name} {value}, {first.name} with {expected}: these trainings are "
                    "not equal; train one of them again, in another --results"
                )


def _conditions(run: TrainingRun, summary: dict[str, Any]) -> dict[str, Any]:
    """Conditions that must be equal. Digests are shortened."""
    found = {name: str(summary[name])[:16] for name in ("data", "images", "vae") if summary.get(name)}
    if run.steps is None:
        environment = summary.get("environment", {})
        found["hardware"] = environment.get("hardware", "unknown")
        found["ranks"] = summary.get("ranks", 1)
        found["options"] = summary.get("execution") or "none"
    return found
