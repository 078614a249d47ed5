"""Criteria that ratios have to meet, verdicts on several ratios at once, and Holm's correction over several claims.

A criterion is an interval: below a bound, above one, or between two. Between two, it is a test of equivalence by two
one-sided tests, each at 2.5%, so that a ratio meets it if its 95% interval lies within.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import nct
from scipy.stats import t as student

from paper_figures.evidence.intervals import LEVEL, Ratio

ALPHA = 1 - LEVEL
POWER = 0.8  # probability of a decision that `needed` asks for
MOST = 1000  # replicates; more are not counted


class Verdict(StrEnum):
    """Answer of the records to a claim."""

    CONFIRMED = "confirmed"
    EQUIVALENT = "equivalent"  # confirmed, where the claim is that two sides differ by less than a factor
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    UNTESTED = "not tested"

    @property
    def holds(self) -> bool:
        """Whether the claim is shown to hold."""
        return self in (Verdict.CONFIRMED, Verdict.EQUIVALENT)

    @property
    def decided(self) -> bool:
        """Whether the claim is shown to hold or not to."""
        return self.holds or self is Verdict.CONTRADICTED


@dataclass(frozen=True)
class Criterion:
    """What a ratio has to be: more than `low` and less than `high`."""

    low: float = 0.0
    high: float = math.inf

    @property
    def is_equivalence(self) -> bool:
        """Whether both sides are bounded."""
        return self.low > 0 and self.high < math.inf

    @property
    def bounds(self) -> list[float]:
        """The bounds that can be missed."""
        return [bound for bound in (self.low, self.high) if 0 < bound < math.inf]

    def __call__(self, value: Ratio) -> Verdict:
        """Whether the ratio meets it, interval and all."""
        if self._holds(value.low, value.high):
            return Verdict.CONFIRMED
        return Verdict.CONTRADICTED if value.high < self.low or value.low > self.high else Verdict.INCONCLUSIVE

    def _holds(self, low: float, high: float) -> bool:
        """Whether both ends of an interval are within; an end may be infinite where there is no bound."""
        return (not self.low or low > self.low) and (self.high == math.inf or high < self.high)

    def p_for(self, value: Ratio) -> float:
        """p-value of its being met: 1 where the estimate does not meet it; NaN where that cannot be tested."""
        each = [value.p(bound) for bound in self.bounds]
        return max(each) if self._holds(value.estimate, value.estimate) or np.isnan(each).any() else 1.0

    def p_against(self, value: Ratio) -> float:
        """p-value of its being missed: 1 where the estimate meets it; NaN where that cannot be tested."""
        if np.isnan([value.p(bound) for bound in self.bounds]).any():
            return math.nan
        missed = [self.low] if value.estimate < self.low else [self.high] if value.estimate > self.high else []
        return max((value.p(bound) for bound in missed), default=1.0)

    def needed(self, value: Ratio, level: float = ALPHA) -> float:
        """Replicates at which a ratio of this mean and spread would be decided with probability `POWER`.

        Infinite above `MOST`; NaN where the spread is not known.
        """
        if len(value.logs) < 2:
            return math.nan
        spread = float(np.std(value.logs, ddof=1))
        distance = min(abs(math.log(value.estimate) - math.log(bound)) for bound in self.bounds)
        if spread == 0:
            return 2 if distance else math.inf
        counts = np.arange(2, MOST + 1)
        limit = student.ppf(1 - level / 2, counts - 1)
        power = nct.sf(limit, counts - 1, np.minimum(distance / spread * np.sqrt(counts), 100))
        return float(counts[power >= POWER][0]) if (power >= POWER).any() else math.inf


below, above = Criterion(high=1.0), Criterion(low=1.0)


def at_most(bound: float) -> Criterion:
    """Below a bound."""
    return Criterion(high=bound)


def at_least(bound: float) -> Criterion:
    """Above a bound."""
    return Criterion(low=bound)


def within(factor: float) -> Criterion:
    """Equivalence: between 1 / factor and factor."""
    return Criterion(1 / factor, factor)


def p_all(tried: Sequence[tuple[Criterion, Ratio]]) -> tuple[float, float]:
    """p-values that all criteria are met, and that one of them is missed.

    All are met if each is, so the largest p-value counts. One may be missed by chance, so the smallest is multiplied by
    their number (Bonferroni). NaN where one cannot be tested, as with one replicate.
    """
    met, missed = [one.p_for(value) for one, value in tried], [one.p_against(value) for one, value in tried]
    if np.isnan(met + missed).any():
        return math.nan, math.nan
    return max(met), min(1.0, len(missed) * min(missed))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the same order. NaN is left out and stays."""
    corrected = np.array(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(corrected))
    order = tested[np.argsort(corrected[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(corrected[order] * factors))
    return [float(value) for value in corrected]
