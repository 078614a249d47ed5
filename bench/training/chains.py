"""Chains of runs that differ only in length: each goes on from the one before it."""

from collections.abc import Iterable
from itertools import zip_longest

from bench.spec.cells import TrainingRun


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
    """The shortest run of each chain, then the second shortest of each, and so on."""
    return [[run for run in wave if run is not None] for wave in zip_longest(*chains(runs))]
