"""Rules, the findings that they return, and what remains of findings after a correction for their number."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paper_figures.evidence.criteria import ALPHA, MOST, Criterion, Verdict, holm, p_all, within
from paper_figures.evidence.gather import Evidence
from paper_figures.evidence.intervals import Ratio

NEGLIGIBLE = 1.1  # differences within this factor are "negligible"
negligible = within(NEGLIGIBLE)

Tried = tuple[Criterion, str, Ratio]  # a criterion, and the ratio that has to meet it, with its name


@dataclass(frozen=True)
class Finding:
    """A verdict and the numbers that it rests on.

    Attributes:
        verdict: after Holm's correction, where `corrected` made it; else for itself.
        measured: the numbers, as text.
        lean: the verdict if the estimates were exact: no result, as noise may turn it. None where there is no noise.
        against: of the ratios that would then contradict the claim, the one farthest from 1, with its name.
        p: two-sided p-value of the verdict for itself; NaN where nothing is tested.
        p_holm: the same, corrected.
        alone: the verdict for itself, without a correction.
        needed: replicates that would decide an inconclusive claim; infinite if more than `criteria.MOST`, else NaN.
        tried: what was tested.
    """

    verdict: Verdict
    measured: str
    lean: Verdict | None = None
    against: str = ""
    p: float = math.nan
    p_holm: float = math.nan
    alone: Verdict | None = None
    needed: float = math.nan
    tried: tuple[Tried, ...] = ()

    @property
    def words(self) -> str:
        """The verdict; the one without the correction, if it is another; what would decide it."""
        if self.verdict is not Verdict.INCONCLUSIVE:
            return str(self.verdict)
        alone = f"{self.alone} without the correction" if self.alone not in (None, self.verdict) else ""
        return "; ".join(filter(None, [str(self.verdict), alone, self.cost]))

    @property
    def cost(self) -> str:
        """The replicates that would decide an inconclusive claim, in words; empty where that is not known."""
        if math.isnan(self.needed):
            return ""
        count = f"more than {MOST:,}" if math.isinf(self.needed) else f"some {self.needed:.0f}"
        return f"{count} replicates would decide it"


@dataclass(frozen=True)
class Rule:
    """A rule as it is printed, and the function that applies it; that raises UntestedError where records lack."""

    text: str
    judge: Callable[[Evidence], Finding]


def rule(text: str) -> Callable[[Callable[[Evidence], Finding]], Rule]:
    """Make the decorated function a `Rule` that is printed as `text`."""
    return lambda judge: Rule(text, judge)


def judged(measured: str, *tests: tuple[Criterion, Mapping[str, Ratio]]) -> Finding:
    """The finding on criteria and the ratios that have to meet them, all of them; the ratios by name.

    The claim holds if all ratios meet their criteria, each at 5%. It is contradicted if one of them misses its
    criterion at 5% divided by their number.
    """
    tried = tuple((meets, name, one) for meets, ratios in tests for name, one in ratios.items())
    met, missed = p_all([(meets, one) for meets, _, one in tried])
    verdict = _confirmed(tried) if met < ALPHA else Verdict.CONTRADICTED if missed < ALPHA else Verdict.INCONCLUSIVE
    leans = [meets(one.exact) for meets, _, one in tried]
    if Verdict.CONTRADICTED in leans:
        lean = Verdict.CONTRADICTED
    else:
        lean = Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in leans else _confirmed(tried)
    wrong = [(name, one.estimate) for meets, name, one in tried if meets(one.exact) is Verdict.CONTRADICTED]
    worst = max(wrong, key=lambda pair: abs(math.log(pair[1])) if pair[1] > 0 else math.inf, default=None)
    against = "{} {:.2f}".format(*worst) if worst else ""
    p = math.nan if math.isnan(met) else min(met, missed)
    return Finding(verdict, measured, lean, against, p=p, alone=verdict, tried=tried)


def corrected(findings: Sequence[Finding]) -> list[Finding]:
    """The findings after Holm's correction for how many of them are tested, in the same order.

    What an inconclusive one would need is reckoned at the strictest level of the correction.
    """
    tested = sum(not math.isnan(one.p) for one in findings)
    found = []
    for one, p in zip(findings, holm([one.p for one in findings]), strict=True):
        lost = one.verdict.decided and p >= ALPHA
        after = replace(one, p_holm=p, verdict=Verdict.INCONCLUSIVE if lost else one.verdict)
        if after.verdict is Verdict.INCONCLUSIVE and not math.isnan(p):
            after = replace(after, needed=_needed(after, ALPHA / tested))
        found.append(after)
    return found


def _confirmed(tried: Sequence[Tried]) -> Verdict:
    """What a claim is called that holds."""
    return Verdict.EQUIVALENT if all(meets.is_equivalence for meets, _, _ in tried) else Verdict.CONFIRMED


def _needed(finding: Finding, level: float) -> float:
    """Replicates that would decide a claim the way it leans: every part of it, or the part that contradicts it."""
    if finding.lean is Verdict.CONTRADICTED:
        wrong = [(meets, one) for meets, _, one in finding.tried if meets(one.exact) is Verdict.CONTRADICTED]
        return float(np.min([meets.needed(one, level / len(finding.tried)) for meets, one in wrong]))
    if finding.lean is not None and finding.lean.holds:
        return float(np.max([meets.needed(one, level) for meets, _, one in finding.tried]))
    return math.nan
