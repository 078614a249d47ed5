"""Means, ratios and their 95% intervals over replicates, and what they allow to be said.

Student's t on the replicates: of the values for a mean, of paired logarithms for a ratio (replicate r of either side
has the same sampling noise and, for the suite's contenders, the same training seed). A configuration that was trained
once shows no spread over training seeds and is lent that of the suite's own. An interval of a ratio that contains 1 is
inconclusive.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd
from scipy.stats import t as student

LEVEL = 0.95
CHOICE = ("model", "n_pre", "iterations", "reuse_mix")  # tell the schedules of a budget apart


class Verdict(StrEnum):
    """Answer of the records to a claim."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    UNTESTED = "not tested"


def half_width(values: np.ndarray, extra_variance: float = 0.0) -> float:
    """Half of the interval of the mean of independent values; NaN for fewer than two, or where one is infinite.

    `extra_variance` is added to the variance of the mean.
    """
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        return math.nan
    return float(student.ppf((1 + LEVEL) / 2, n - 1) * math.sqrt(values.var(ddof=1) / n + extra_variance))


@dataclass(frozen=True)
class Ratio:
    """An estimated ratio with its interval; `low` and `high` are NaN with fewer than two replicates.

    `least` and `most`, for networks that were trained apart, are the ratios between the ends of the two sides' own
    intervals: where those overlap, a verdict is inconclusive, though the paired ratio may be known better.
    """

    estimate: float
    low: float
    high: float
    least: float = math.inf
    most: float = -math.inf

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval that decides a verdict."""
        return min(self.low, self.least), max(self.high, self.most)

    @property
    def exact(self) -> "Ratio":
        """The estimate as if it had no noise: its verdict is which way this ratio leans, not what is known."""
        return Ratio(self.estimate, self.estimate, self.estimate)

    @property
    def digits(self) -> int:
        """Decimals that tell it from 1."""
        reach = abs(1 - self.estimate) if math.isnan(self.low) else max(1 - self.low, self.high - 1)
        return 4 if reach < 0.005 else 3 if reach < 0.05 else 2

    def __str__(self) -> str:
        digits = self.digits
        if math.isnan(self.low):
            return f"{self.estimate:.{digits}f} (one replicate)"
        overlap = self.bounds[0] <= 1 <= self.bounds[1] and not self.low <= 1 <= self.high
        text = f"{self.low:.{digits}f} to {self.high:.{digits}f}{'; intervals overlap' if overlap else ''}"
        return f"{self.estimate:.{digits}f} ({text})"


def ratio(a: pd.Series, b: pd.Series, lent: tuple[float, float] = (0.0, 0.0), *, apart: bool = False) -> Ratio:
    """a / b, paired by their index (the seed). Infinite values (diverged) win over any interval.

    Args:
        a, b: a value a replicate.
        lent: variance of the logarithm of a's and b's mean that their replicates do not show.
        apart: whether the two are networks trained apart; then their own intervals count too.

    Raises:
        ValueError: no index in common.
    """
    a, b = a.align(b, join="inner")
    if a.empty:
        raise ValueError("the two sides have no replicate in common")
    lost = np.isinf(a).any(), np.isinf(b).any()
    if any(lost):
        worst = math.nan if all(lost) else math.inf if lost[0] else 0.0
        return Ratio(worst, worst, worst)
    logs = np.log(a.to_numpy(float)) - np.log(b.to_numpy(float))
    center, half = float(logs.mean()), half_width(logs, sum(lent))
    found = Ratio(math.exp(center), math.exp(center - half), math.exp(center + half))
    if not apart or math.isnan(half):
        return found
    (low, high), (other_low, other_high) = (interval(side, extra) for side, extra in zip((a, b), lent, strict=True))
    return replace(found, least=low / other_high, most=high / other_low if other_low > 0 else math.inf)


def interval(values: pd.Series, lent: float = 0.0) -> tuple[float, float]:
    """The interval of the mean, as tables and figures show it; `lent` is a variance of the logarithm."""
    mean = float(values.mean())
    half = half_width(values.to_numpy(float), lent * mean**2)
    return mean - half, mean + half


def below(value: Ratio, bound: float = 1.0) -> Verdict:
    """Whether the ratio is below the bound, interval and all."""
    low, high = value.bounds
    if high < bound:
        return Verdict.CONFIRMED
    return Verdict.CONTRADICTED if low > bound else Verdict.INCONCLUSIVE


def above(value: Ratio, bound: float = 1.0) -> Verdict:
    """Whether the ratio is above the bound, interval and all."""
    low, high = value.bounds
    if low > bound:
        return Verdict.CONFIRMED
    return Verdict.CONTRADICTED if high < bound else Verdict.INCONCLUSIVE


def within(value: Ratio, factor: float) -> Verdict:
    """Whether the ratio is between 1 / factor and factor, interval and all."""
    low, high = value.bounds
    if low > 1 / factor and high < factor:
        return Verdict.CONFIRMED
    return Verdict.CONTRADICTED if low > factor or high < 1 / factor else Verdict.INCONCLUSIVE


def both(*verdicts: Verdict) -> Verdict:
    """A statement that needs all of its parts: one contradicted part contradicts it, all confirmed ones confirm it."""
    if not verdicts or Verdict.UNTESTED in verdicts:
        return Verdict.UNTESTED
    if Verdict.CONTRADICTED in verdicts:
        return Verdict.CONTRADICTED
    return Verdict.CONFIRMED if set(verdicts) == {Verdict.CONFIRMED} else Verdict.INCONCLUSIVE


def by_seed(frame: pd.DataFrame, column: str = "fid") -> pd.Series:
    """One value a replicate: the geometric mean over the frame's other cells of that seed."""
    return frame[column].astype(float).map(np.log).groupby(frame.seed).mean().map(np.exp)


def by_choice(frame: pd.DataFrame, column: str = "fid") -> pd.DataFrame:
    """A row a replicate, a column for each schedule to choose among; contenders count too if there are several."""
    return frame.pivot_table(index="seed", columns=[name for name in CHOICE if name in frame], values=column)


def best(frame: pd.DataFrame, column: str = "fid") -> pd.Series:
    """One value a replicate, at the schedule that is best in the other replicates (its own, if there is no other).

    Choosing a schedule on the samples that then score it would flatter whoever has more schedules to choose from.
    """
    table = by_choice(frame, column)
    logs = table.map(np.log)
    chosen = {}
    for seed in table.index:
        others = logs.drop(index=seed) if len(table) > 1 else logs
        chosen[seed] = table.loc[seed, others.mean().idxmin()]
    return pd.Series(chosen, name=column)
