"""Where a training goes on: at its own checkpoint, or at the end of a shorter run of the same chain.

And under which conditions: hardware and micro-batch of the steps before may have been others, which a summary states.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.system.errors import BadInputError
from bench.system.files import read_bytes
from bench.training import checkpoints
from bench.training.log import MetricsLog

Found = tuple[checkpoints.Checkpoint, str]  # with the digest of its EMA weights
Conditions = list[dict[str, Any]]  # of the steps from each "from_step" on: "hardware" with options, "micro_batch"


def resumable(store: Store, run: TrainingRun, hardware: str, data: Mapping[str, str], log: MetricsLog) -> Found | None:
    """The checkpoint from which a run goes on, as one of this run; its log's lines are put into `log`.

    It is the run's own. If there is none, it is the last one of the longest shorter run of the same chain that ended
    without diverging and is of the same hardware and data. A shorter run that cannot be used is named on stderr.

    A run of a number of steps also goes on from its own checkpoint of other hardware, as its budget is not seconds.

    Raises:
        BadInputError: the run's own checkpoint or log is damaged, of other data or, if its budget is seconds, of other
            hardware.
    """

    def usable(found: Found, source: TrainingRun) -> Found:
        _check_data(source, found[0], data)
        log.resume(store.metrics_log_path(source), found[0].step, found[0].extra["log"])
        older = {"conditions": [{"from_step": 0, "hardware": found[0].hardware}]}  # of a checkpoint that has none
        return replace(found[0], extra=older | found[0].extra), found[1]

    if (found := checkpoints.load(store.checkpoint_folder(run), run)) is not None:
        if run.steps is None:
            _check_hardware(
                run, found[0], hardware, "their seconds do not add up; go on there, or choose another --results"
            )
        return usable(found, run)
    for start in _ended_starts(store, run):
        try:
            found = checkpoints.load(store.checkpoint_folder(start), start)
            if found is not None and found[0].status == "done":
                saved = replace(found[0], status="training", extra=found[0].extra | {"continues": start.name})
                why = "their seconds do not add up" if run.steps is None else "its bits may differ from those made here"
                _check_hardware(start, saved, hardware, why)
                return usable((saved, found[1]), start)
        except BadInputError as error:
            print(f"{run.name} does not go on from {start.name}: {error}", file=sys.stderr)
    return None


def _check_hardware(run: TrainingRun, saved: checkpoints.Checkpoint, hardware: str, why: str) -> None:
    if saved.hardware != hardware and saved.status == "training":
        raise BadInputError(
            f"{run.name} was trained for {saved.elapsed_s:.0f} s on {saved.hardware}, not {hardware}: {why}"
        )


def _check_data(run: TrainingRun, saved: checkpoints.Checkpoint, data: Mapping[str, str]) -> None:
    for name, digest in data.items():
        if (known := saved.extra.get(name, digest)) != digest:
            raise BadInputError(
                f"{run.name} was trained on other data: {name} {known[:12]}, now {digest[:12]}; go on with "
                "those, or choose another --results"
            )


def conditions_from(step: int, hardware: str, micro_batch: int, before: Conditions) -> Conditions:
    """The conditions of a run's steps: those before and, if they are others, those from `step` on."""
    now, kept = {"hardware": hardware, "micro_batch": micro_batch}, [one for one in before if one["from_step"] < step]
    if kept and all(now[name] == value for name, value in kept[-1].items() if name in now):
        return kept
    return [*kept, {"from_step": step, **now}]


def change_at(step: int, conditions: Conditions) -> str:
    """What changed at `step`, in words; empty if nothing did."""
    if len(conditions) < 2 or conditions[-1]["from_step"] != step:
        return ""
    before, now = conditions[-2:]
    changed = [name for name in ("hardware", "micro_batch") if before.get(name, now[name]) != now[name]]
    return ", ".join(f"{name.replace('_', '-')} {now[name]} (before: {before[name]})" for name in changed)


def _ended_starts(store: Store, run: TrainingRun) -> list[TrainingRun]:
    """The runs of the same chain that ended before this run's budget without diverging, the longest first."""
    found = []
    for path in (store.root / "training").glob("*.json"):
        try:
            summary = json.loads(read_bytes(path))
            start, spent = _as_long_as(run, summary["run"]), summary["elapsed_s" if run.steps is None else "step"]
            same = start.chain == run.chain and start.identity() == summary["run"]
            if same and summary["status"] == "done" and spent < run.budget:
                found.append(start)
        except (ValueError, KeyError, TypeError):  # damaged, or a budget in the other unit
            continue
    return sorted(found, key=lambda start: -start.budget)


def _as_long_as(run: TrainingRun, identity: dict[str, Any]) -> TrainingRun:
    if run.steps is not None:
        return replace(run, steps=identity["steps"])
    return replace(run, recipe=replace(run.recipe, seconds=identity["recipe"]["seconds"]))
