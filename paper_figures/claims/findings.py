"""Rules, and the findings that they return."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Ratio, Verdict, both

NEGLIGIBLE = 1.1  # differences within this factor are "negligible"

Criterion = Callable[[Ratio], Verdict]


@dataclass(frozen=True)
class Finding:
    """A verdict and the numbers that it rests on.

    `lean` is the verdict if the estimates were exact: no result, as noise may turn it. None where there is no noise.
    """

    verdict: Verdict
    measured: str
    lean: Verdict | None = None


@dataclass(frozen=True)
class Rule:
    """A rule as it is printed, and the function that applies it; that raises UntestedError where records lack."""

    text: str
    judge: Callable[[Evidence], Finding]


def rule(text: str) -> Callable[[Callable[[Evidence], Finding]], Rule]:
    """Make the decorated function a `Rule` that is printed as `text`."""
    return lambda judge: Rule(text, judge)


def judged(measured: str, *tests: tuple[Criterion, Iterable[Ratio]]) -> Finding:
    """The finding on criteria and the ratios that have to meet them, all of them."""
    pairs = [(meets, one) for meets, ratios in tests for one in ratios]
    verdict, lean = both(*(meets(one) for meets, one in pairs)), both(*(meets(one.exact) for meets, one in pairs))
    return Finding(verdict, measured, lean)
