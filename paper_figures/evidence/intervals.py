"""Means and ratios over replicates with their 95% intervals, and p-values of ratios.

Student's t on the replicates: of the values for a mean, of paired logarithms for a ratio (replicate r of either side
has the training seed r and the sampling seed r). Whether two sides' own intervals overlap decides nothing. Beside the
interval stands the p-value of a sign-flip test, which needs no normal distribution: with n replicates it is 2 / 2^n or
more. One replicate has neither.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import permutation_test
from scipy.stats import t as student

LEVEL = 0.95
CHOICE = ("model", "n_pre", "iterations", "reuse_mix")  # tell the schedules of a budget apart
_ALIKE = 1e-9  # logarithms that differ by less are rounding


def half_width(values: np.ndarray) -> float:
    """Half of the interval of the mean of independent values; NaN for fewer than two, or where one is infinite."""
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        return math.nan
    return float(student.ppf((1 + LEVEL) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))


@dataclass(frozen=True)
class Ratio:
    """An estimated ratio with its interval; `low` and `high` are NaN with fewer than two replicates.

    Attributes:
        estimate: the geometric mean over replicates.
        low, high: its 95% interval.
        logs: logarithm of the ratio in each replicate; empty where a side diverged.
    """

    estimate: float
    low: float
    high: float
    logs: tuple[float, ...] = ()

    @property
    def exact(self) -> "Ratio":
        """The estimate as if it had no noise: its verdict is which way this ratio leans, not what is known."""
        return Ratio(self.estimate, self.estimate, self.estimate)

    @property
    def digits(self) -> int:
        """Decimals that tell it from 1."""
        reach = abs(1 - self.estimate) if math.isnan(self.low) else max(1 - self.low, self.high - 1)
        return 4 if reach < 0.005 else 3 if reach < 0.05 else 2

    def p(self, bound: float = 1.0) -> float:
        """Two-sided p-value of Student's t that the ratio equals a bound: below 0.05 where its interval excludes it.

        0 where a side diverged; NaN where that cannot be tested.
        """
        if not self.logs:
            return 0.0 if math.isinf(self.estimate) or self.estimate == 0 else math.nan
        distance, n = abs(np.mean(self.logs) - math.log(bound)), len(self.logs)
        if n < 2:
            return math.nan
        error = np.std(self.logs, ddof=1) / math.sqrt(n)
        if error < _ALIKE:
            return 0.0 if distance > _ALIKE else 1.0
        return float(2 * student.sf(distance / error, n - 1))

    @property
    def flip_p(self) -> float:
        """Two-sided p-value of the sign-flip test that the ratio is 1; NaN with fewer than two replicates."""
        if len(self.logs) < 2:
            return math.nan
        # Exact up to 13 replicates: all flips are tried.
        return float(permutation_test((self.logs,), np.mean, permutation_type="samples", rng=0).pvalue)

    def __str__(self) -> str:
        digits = self.digits
        if math.isnan(self.low):
            return f"{self.estimate:.{digits}f} (one replicate)"
        tested = "" if math.isnan(self.flip_p) else f", p = {self.flip_p:.2g}"
        return f"{self.estimate:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f}{tested})"


def ratio(a: pd.Series, b: pd.Series) -> Ratio:
    """a / b, paired by their index (the seed). Infinite values (diverged) win over any interval.

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
    center, half = float(logs.mean()), half_width(logs)
    return Ratio(math.exp(center), math.exp(center - half), math.exp(center + half), tuple(logs.tolist()))


def by_seed(frame: pd.DataFrame, column: str = "fid") -> pd.Series:
    """One value a replicate: the geometric mean over the frame's other cells of that seed."""
    return frame[column].astype(float).map(np.log).groupby(frame.seed).mean().map(np.exp)


def by_choice(frame: pd.DataFrame, column: str = "fid") -> pd.DataFrame:
    """A row a replicate, a column for each schedule to choose among; contenders count too if there are several."""
    return frame.pivot_table(index="seed", columns=[name for name in CHOICE if name in frame], values=column)


def best(frame: pd.DataFrame) -> pd.Series:
    """FD of each replicate, at the schedule that is best in the other replicates (its own, if there is no other).

    Choosing a schedule on the samples that then score it would flatter whoever has more schedules to choose from.
    """
    table = by_choice(frame)
    logs = table.map(np.log)
    chosen = {}
    for seed in table.index:
        others = logs.drop(index=seed) if len(table) > 1 else logs
        chosen[seed] = table.loc[seed, others.mean().idxmin()]
    return pd.Series(chosen, name="fid")
