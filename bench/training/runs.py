"""Runs together: chains that differ only in length, of which each goes on from the one before; what is comparable.

Equal seconds mean equal training only on equal machines, and on equal data. Contenders are compared within a replicate,
so replicates may be of different machines.
"""

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.system.errors import BadInputError

TOGETHER = 8  # chains of several seeds that train together, at most


def chains(runs: Iterable[TrainingRun]) -> list[list[TrainingRun]]:
    """The runs of each chain (`TrainingRun.chain`), the shortest first."""
    found: dict[str, list[TrainingRun]] = {}
    for run in runs:
        found.setdefault(run.chain, []).append(run)
    return [sorted(chain, key=lambda run: run.budget) for chain in found.values()]


def training_seconds(runs: Iterable[TrainingRun]) -> float:
    """Training clock that the runs with a budget in seconds take together: of each chain, that of the longest."""
    return sum(chain[-1].budget for chain in chains(run for run in runs if run.steps is None))


def waves(runs: Iterable[TrainingRun]) -> list[list[TrainingRun]]:
    """Runs that train together: the shortest run of each chain, then the second shortest of each, and so on.

    Seeds come one after the other, since contenders are compared within a seed and all that train together are in
    memory; seeds of few runs train together, so that each run has neighbors.
    """
    of_seed: dict[int, list[list[TrainingRun]]] = {}
    for chain in chains(runs):
        of_seed.setdefault(chain[0].seed, []).append(chain)
    groups: list[list[list[TrainingRun]]] = []
    for some in of_seed.values():
        if groups and len(groups[-1]) + len(some) <= TOGETHER:
            groups[-1] += some
        else:
            groups.append(some)
    return [[run for run in wave if run is not None] for group in groups for wave in zip_longest(*group)]


def check_comparable(store: Store, runs: Iterable[TrainingRun]) -> None:
    """Refuse runs that were trained with different numbers of ranks, executions, neighbors or data.

    Runs of one seed on different hardware are refused, too. Trainings whose budget is a number of steps may differ in
    all but data.

    Raises:
        BadInputError: names two runs and what differs.
    """
    known: dict[tuple[str, int | None], tuple[TrainingRun, Any]] = {}
    for run in runs:
        if run.elsewhere:
            continue
        summary = store.read_training(run)
        for name, value in _conditions(run, summary).items() if summary else ():
            within = run.seed if name == "hardware" else None
            first, expected = known.setdefault((name, within), (run, value))
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
        found["number of trainings side by side"] = summary.get("side_by_side", 1)
    return found
