"""Trainings repeated: for the steps that kept ones took, however fast this machine is, and compared with them.

Everything random is keyed by (seed, step), so under the conditions of the kept training the weights are the same bits.
With another processor or number of threads rounding differs from some 50 steps on. After 1,500 steps of a DiT-3 on
digits the loss had changed by 1e-5 of its value (`bench.reproduction.agreement` says how that was tried).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.machine.compiler import why_not_compile
from bench.machine.execution import Execution
from bench.reproduction.agreement import other_conditions
from bench.reproduction.resampling import device_like, torch_threads
from bench.spec.arguments import Places
from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.system.errors import BadInputError
from bench.system.files import read_if_there
from bench.training.log import FIELDS
from bench.training.turns import train_together

LOSS_TOLERANCE = 0.01  # relative, of the last window's mean loss


@dataclass(frozen=True)
class Replay:
    """A kept training beside its repetition.

    Attributes:
        kept, again: the two runs; the second one's budget is the steps of the first.
        steps: of each.
        losses: of each, the mean over the last window of its log.
        first_apart: last step of the first window of the log that differs; None if none does.
        same_weights: whether averaged weights are the same bits.
        elsewhere: what of the conditions differs, so that bits may; empty if nothing does.
        environment: of the kept training.
    """

    kept: TrainingRun
    again: TrainingRun
    steps: tuple[int, int]
    losses: tuple[float, float]
    first_apart: int | None
    same_weights: bool
    elsewhere: str
    environment: Mapping[str, Any]

    @property
    def problems(self) -> tuple[str, ...]:
        """What does not agree."""
        found = []
        if self.steps[0] != self.steps[1]:
            found.append(f"it ended after {self.steps[1]} steps")
        if not self.same_weights and not self.elsewhere:
            found.append("other weights under the same conditions")
        if abs(self.losses[1] / self.losses[0] - 1) > LOSS_TOLERANCE:
            found.append(f"loss {self.losses[1]:.4g} instead of {self.losses[0]:.4g}")
        return tuple(found)


def repetition(kept: Store, run: TrainingRun) -> TrainingRun:
    """The run with the steps of its kept training as its budget. BadInputError if it was not trained, or diverged."""
    if (summary := kept.read_training(run)) is None:
        raise BadInputError(f"--replay: {run.name} has no training in {kept.root / 'training'}")
    if summary["status"] != "done":
        raise BadInputError(
            f"--replay: {run.name} {summary['status']} at step {summary['step']}: leave it out (--models)"
        )
    return replace(run, steps=summary["step"])


def train_again(kept: Store, into: Store, runs: Mapping[TrainingRun, TrainingRun], places: Places) -> Iterator[Replay]:
    """Repeat kept trainings one after the other, each with its kind of device, its threads and its options.

    One that is finished there already is not repeated.

    Args:
        kept: results with the summaries and logs of the trainings.
        into: receives the repetitions; not the same.
        runs: the kept runs, each with its `repetition`.
        places: where datasets are.
    """
    for run, again in runs.items():
        summary = kept.read_training(run)
        assert summary is not None
        device = device_like(summary["environment"])
        share = run.recipe.batch_size // summary.get("ranks", 1)
        execution = Execution(
            "compiled" in _options(summary) and not why_not_compile(device),
            "checkpointing" in _options(summary),
            micro if (micro := summary.get("micro_batch", share)) < share else None,
        )
        with torch_threads(int(summary["environment"]["threads"])):
            train_together([again], into, device, execution, places, alternate=False)
        yield _compared(kept, into, run, again)


def _options(summary: dict[str, Any]) -> str:
    return summary.get("execution") or ""


def _compared(kept: Store, into: Store, run: TrainingRun, again: TrainingRun) -> Replay:
    first, second = kept.read_training(run), into.read_training(again)
    assert first is not None
    assert second is not None
    before, now = _log(kept, run), _log(into, again)
    apart = (step for step, window in before.items() if now.get(step) != window)
    return Replay(
        kept=run,
        again=again,
        steps=(first["step"], second["step"]),
        losses=(first["loss"], second["loss"]),
        first_apart=next(apart, None),
        same_weights=first["digest"] == second["digest"],
        elsewhere=_conditions(first, second),
        environment=first["environment"],
    )


def _conditions(first: dict[str, Any], second: dict[str, Any]) -> str:
    """What differs between the conditions of two trainings that may change bits."""
    found = [other_conditions(*(one["environment"] | {"execution": _options(one)} for one in (first, second)))]
    for name in ("ranks", "micro_batch"):
        if (before := first.get(name)) is not None and before != second.get(name):
            found.append(f"{name.replace('_', '-')} {second.get(name)} instead of {before}")
    if "conditions" in first:
        found.append("its conditions changed on the way")
    return ", ".join(filter(None, found))


def _log(store: Store, run: TrainingRun) -> dict[int, dict[str, Any]]:
    """The windows of a training's log by their last step, without their seconds. BadInputError if it is damaged."""
    path = store.metrics_log_path(run)
    try:
        lines = [json.loads(line) for line in (read_if_there(path) or b"").splitlines()]
        return {line["step"]: {name: line[name] for name in FIELDS} for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"metrics log {path} is damaged ({error!r}): restore it") from error
