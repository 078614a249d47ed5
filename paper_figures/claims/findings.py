"""Rules, and the findings that they return."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Ratio, Verdict, both

NEGLIGIBLE = 1.1  # differences within this factor are "negligible"

Criterion = Callable[[Ratio], Verdict]


@dataclass(frozen=True)
class Finding:
    """A verdict and the numbers that it rests on.

    `lean` is the verdict if the estimates were exact: no result, as noise may turn it. None where there is no noise.
    `against` is, of the ratios that would then contradict the claim, the one farthest from 1, with its name.
    """

    verdict: Verdict
    measured: str
    lean: Verdict | None = None
    against: str = ""


@dataclass(frozen=True)
class Rule:
    """A rule as it is printed, and the function that applies it; that raises UntestedError where records lack."""

    text: str
    judge: Callable[[Evidence], Finding]


def rule(text: str) -> Callable[[Callable[[Evidence], Finding]], Rule]:
    """Make the decorated function a `Rule` that is printed as `text`."""
    return lambda judge: Rule(text, judge)


def judged(measured: str, *tests: tuple[Criterion, Mapping[str, Ratio]]) -> Finding:
    """The finding on criteria and the ratios that have to meet them, all of them; the ratios by name."""
    tried = [(meets, name, one) for meets, ratios in tests for name, one in ratios.items()]
    verdict, lean = both(*(meets(one) for meets, _, one in tried)), both(*(meets(one.exact) for meets, _, one in tried))
    wrong = [(name, one.estimate) for meets, name, one in tried if meets(one.exact) is Verdict.CONTRADICTED]
    worst = max(wrong, key=lambda pair: abs(math.log(pair[1])) if pair[1] > 0 else math.inf, default=None)
    return Finding(verdict, measured, lean, "{} {:.2f}".format(*worst) if worst else "")
