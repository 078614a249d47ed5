"""Records that a comparison needs: all or none."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import pandas as pd

from bench.spec.cells import TrainingRun
from bench.spec.selection import replicates, training_run
from paper_figures.evidence.gather import Evidence

_asked: ContextVar[list[str] | None] = ContextVar("asked", default=None)


class UntestedError(Exception):
    """The records do not hold what a rule needs; names what is missing."""


@contextmanager
def watched() -> Iterator[list[str]]:
    """The keys of the cells that rules get from `some` meanwhile: what a verdict rests on."""
    keys: list[str] = []
    token = _asked.set(keys)
    try:
        yield keys
    finally:
        _asked.reset(token)


def where(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows that have these values, or one of them where a list or tuple is given."""
    for column, value in wanted.items():
        frame = frame[frame[column].isin(value if isinstance(value, (tuple, list)) else [value])]
    return frame


def some(frame: pd.DataFrame, what: str, **wanted: object) -> pd.DataFrame:
    """The rows of `where`; UntestedError if there are none, or some without a comparable record."""
    frame = where(frame, **wanted)
    if frame.fid.isna().all():
        raise UntestedError(f"no record of {what}")
    if missing := int(frame.fid.isna().sum()):
        raise UntestedError(f"{missing} missing record{'s' if missing > 1 else ''} of {what}")
    if not frame.comparable.astype(bool).all():
        raise UntestedError(f"cells within their budget: {what} spent more")
    if (asked := _asked.get()) is not None:
        asked.extend(frame.key)
    return frame


def with_absent(evidence: Evidence, **wanted: object) -> pd.DataFrame:
    """The rows of `where`, and among them one without metrics for each quality cell that has no record.

    Cells of trainings of another length or learning rate than the suite's are left out.
    """
    names = [run.name for run in {cell.run for cell in evidence.quality} if _as_usual(evidence, run)]
    frame, asked = (where(table, train_run=names) for table in (evidence.frame, evidence.asked))
    absent = asked[~asked.key.isin(frame.key)]
    return where(pd.concat([frame, absent], ignore_index=True) if len(absent) else frame, **wanted)


def of_subject(evidence: Evidence, **wanted: object) -> pd.DataFrame:
    """The rows of `with_absent` that are of the suite's subject, however it was trained."""
    return with_absent(evidence, model=evidence.compared.subject_name, **wanted)


def own(evidence: Evidence, **wanted: object) -> pd.DataFrame:
    """The rows of `with_absent` of contenders trained as the suite has them, sampled as it samples by default.

    That is plain iteration, constant allocation, and reuse by families that carry a state.
    """
    runs = {cell.run for cell in evidence.cells if cell.run is not None}
    names = [run.name for run in runs if _is_own(evidence, run)]
    frame = with_absent(evidence, train_run=names, solver="iteration", allocation="constant", **wanted)
    carries = {one.name: one.family.carries_state for one in evidence.compared.contenders}
    return frame[frame.reuse.astype(bool) == frame.model.map(carries).astype(bool)]


def _as_usual(evidence: Evidence, run: TrainingRun) -> bool:
    """Whether a training is a replicate's, of a length and at a learning rate that the suite or its ablations have."""
    suite = evidence.compared
    usual = training_run(suite, suite.contender(run.model), evidence.selection, run.seed)
    lengths = (usual.recipe.seconds, suite.ablation_seconds)
    return (
        run.seed in replicates(suite, evidence.selection)
        and run.steps == usual.steps
        and (run.recipe.learning_rate, run.recipe.seconds in lengths) == (usual.recipe.learning_rate, True)
    )


def _is_own(evidence: Evidence, run: TrainingRun) -> bool:
    own = evidence.compared.contender(run.model)
    return run.recipe.policy == own.recipe.policy and run.config == own.config
