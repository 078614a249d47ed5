"""The records that a claim rests on: all that it asks for or none, and what was trained once is lent a spread."""

import numpy as np
import pandas as pd

from bench.spec.cells import TrainingRun
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Ratio, best, by_seed, ratio


class UntestedError(Exception):
    """The records do not hold what a rule needs; says what."""


def with_absent(evidence: Evidence) -> pd.DataFrame:
    """The evidence's frame, and a row without metrics for each quality cell that has no record."""
    frame, asked = evidence.frame, evidence.asked
    absent = asked[~asked.key.isin(frame.key)]
    return pd.concat([frame, absent], ignore_index=True) if len(absent) else frame


def some(frame: pd.DataFrame, what: str, **wanted: object) -> pd.DataFrame:
    """The rows with these values; UntestedError if there are none, or some without a comparable record."""
    for column, value in wanted.items():
        frame = frame[frame[column].isin(value) if isinstance(value, (tuple, list)) else frame[column] == value]
    if frame.fid.isna().all():
        raise UntestedError(f"no record of {what}")
    if missing := int(frame.fid.isna().sum()):
        raise UntestedError(f"{missing} missing record{'s' if missing > 1 else ''} of {what}")
    if not frame.comparable.astype(bool).all():
        raise UntestedError(f"cells within their budget: {what} spent more")
    return frame


def own_twins(evidence: Evidence) -> pd.DataFrame:
    """Rows of the suite's own twins by plain iteration, constant allocation, with reuse; also those without record."""
    frame = with_absent(evidence)
    twins = [cell.run.name for cell in evidence.cells if cell.run is not None and _is_twin(evidence, cell.run)]
    plain = frame.train_run.isin(twins) & (frame.solver == "iteration") & (frame.allocation == "constant")
    return frame[plain & ((frame.model == "dit") | frame.reuse.astype(bool))]


def _is_twin(evidence: Evidence, run: TrainingRun) -> bool:
    suite = evidence.twins
    recipe, own = run.recipe, suite.training
    same = (recipe.unroll, recipe.n_max, recipe.m_max) == (own.unroll, own.n_max, own.m_max)
    return same and run.config == suite.model(run.model)


def training_variance(evidence: Evidence, budget: int, iterations: int) -> float:
    """Variance of log FD over the twin's replicates, training seeds included: lent to what was trained once."""
    frame = own_twins(evidence)
    values = by_seed(frame[(frame.model == "fpdm") & (frame.budget == budget) & (frame.iterations == iterations)
                           & (frame.sampler == "ddpm")]).dropna()  # fmt: skip
    return float(np.log(values).var(ddof=1)) if len(values) > 1 else np.nan


def lent(evidence: Evidence, frame: pd.DataFrame) -> float:
    """Variance of log FD that replicates of one training do not show: the twin's, the largest over the iterations."""
    if frame.train_seed.nunique() == frame.seed.nunique():
        return 0.0
    schedules = set(zip(frame.budget, frame.iterations, strict=True))
    return max(training_variance(evidence, budget, k) for budget, k in schedules)


def between_runs(evidence: Evidence, a: pd.DataFrame, b: pd.DataFrame) -> Ratio:
    """FD of a over b, each at its best iterations if there are several, where either may have been trained once."""
    return ratio(best(a), best(b), (lent(evidence, a), lent(evidence, b)), apart=True)
