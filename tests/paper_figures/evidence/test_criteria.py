"""Criteria, verdicts on several ratios, Holm's correction, and the replicates that a decision would need."""

import math

import numpy as np
import pandas as pd
import pytest

from paper_figures.claims.findings import corrected, judged
from paper_figures.evidence.criteria import Verdict, above, at_least, below, holm, p_all, within
from paper_figures.evidence.intervals import Ratio, ratio

C, E, X, I = Verdict.CONFIRMED, Verdict.EQUIVALENT, Verdict.CONTRADICTED, Verdict.INCONCLUSIVE  # noqa: E741
NAN = math.nan


def measured(mean, spread=0.1, replicates=6):
    """A ratio with this geometric mean, whose logarithms have this standard deviation."""
    logs = np.linspace(-1, 1, replicates)
    logs = math.log(mean) + spread * logs / logs.std(ddof=1)
    return ratio(pd.Series(np.exp(logs)), pd.Series(np.ones(replicates)))


@pytest.mark.parametrize(
    ("rule", "value", "verdict"),
    [
        (below, Ratio(0.5, 0.4, 0.6), C),
        (below, Ratio(0.9, 0.8, 1.1), I),
        (below, Ratio(1.5, 1.2, 1.8), X),
        (above, Ratio(1.5, 1.2, 1.8), C),
        (above, Ratio(0.9, 0.8, 1.1), I),
        (above, Ratio(0.5, 0.4, 0.6), X),
        (within(1.5), Ratio(1.0, 0.9, 1.1), C),
        (within(1.5), Ratio(0.7, 0.6, 0.8), I),
        (within(1.5), Ratio(0.5, 0.4, 0.6), X),
        (within(1.5), Ratio(2.0, 1.6, 2.4), X),
        (below, Ratio(0.5, NAN, NAN), I),
        (above, Ratio(math.inf, math.inf, math.inf), C),
        (below, Ratio(0, 0, 0), C),
        (below, Ratio(NAN, NAN, NAN), I),  # both diverged
        (below, Ratio(0.9, 0.5, 1.6).exact, C),
        (within(1.05), Ratio(0.9, 0.5, 1.6).exact, X),
        (below, Ratio(1.0, 0.9, 1.1).exact, I),
    ],
)
def test_verdicts_of_intervals(rule, value, verdict):
    assert rule(value) == verdict


@pytest.mark.parametrize("rule", [below, above, at_least(2), within(1.1), within(1.5)])
@pytest.mark.parametrize("mean", [0.5, 0.93, 0.999, 1.04, 1.3, 1.9, 2.6])
@pytest.mark.parametrize("spread", [0.02, 0.1, 0.4])
def test_p_values_decide_as_intervals_do(rule, mean, spread):
    value = measured(mean, spread)
    verdict = rule(value)
    assert (rule.p_for(value) < 0.05, rule.p_against(value) < 0.05) == (verdict == C, verdict == X)


def test_a_claim_of_several_parts():
    """All parts at 5%, or one at 5% divided by their number."""
    good, bad, open_ = measured(0.5), measured(2.0), measured(1.02)
    assert p_all([(below, good), (below, good)])[0] == pytest.approx(good.p())
    assert p_all([(below, good), (below, open_)]) == pytest.approx((1.0, min(1, 2 * open_.p())))
    assert p_all([(below, good), (below, good), (below, bad)]) == pytest.approx((1.0, 3 * bad.p()))
    assert np.isnan(p_all([(below, good), (below, Ratio(0.5, NAN, NAN, (-0.7,)))])).all()
    # 2.1 standard errors above 1: contradicts alone (p = 0.02 of 21 degrees of freedom), not as one of four
    barely = measured(1.0 + 0.1 * 2.6 / math.sqrt(22), replicates=22)
    verdicts = [
        judged("", (below, {str(i): one for i, one in enumerate([barely, *[good] * n])})).verdict for n in (0, 3)
    ]
    assert verdicts == [X, I]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # Holm's steps: 3 x 0.01, 2 x 0.03, and no less
        ([0.5, 0.9], [1.0, 1.0]),
        ([NAN, 0.02, NAN, 0.04], [NAN, 0.04, NAN, 0.04]),
        ([], []),
    ],
)
def test_holms_correction(values, expected):
    assert holm(values) == pytest.approx(expected, nan_ok=True)


def test_the_correction_takes_verdicts_back_and_says_so():
    sure, barely = measured(0.5), measured(math.exp(-0.1 * 2.9 / math.sqrt(6)))
    one, other, none = corrected(
        [judged("", (below, {"a": sure})), judged("", (below, {"b": barely})), judged("", (below, {"c": barely}))]
    )
    assert (one.verdict, other.verdict, other.alone) == (C, I, C)
    assert (other.p_holm, none.p_holm) == pytest.approx((2 * barely.p(),) * 2)
    assert other.words.startswith("inconclusive; confirmed without the correction; some ")
    assert one.words == "confirmed"


def test_equivalence_has_its_own_word():
    near = measured(1.02, 0.05)
    assert judged("", (within(1.5), {"a": near})).verdict == E
    assert judged("", (within(1.5), {"a": near}), (below, {"b": measured(0.5)})).verdict == C
    assert E.holds
    assert E.decided
    assert not I.decided


@pytest.mark.parametrize(("distance", "replicates"), [(0.1, 10), (0.05, 34), (0.2, 5)])
def test_replicates_needed_are_those_of_a_power_analysis(distance, replicates):
    """One-sample t test, power 0.8, 5% two-sided: effects of 1, 0.5 and 2 standard deviations (Cohen's tables)."""
    assert below.needed(measured(math.exp(-distance), spread=0.1)) == replicates


def test_what_would_be_needed_may_be_too_much_or_unknown():
    assert math.isinf(below.needed(measured(0.9999, spread=0.5)))
    assert math.isnan(below.needed(Ratio(0.5, NAN, NAN, (-0.7,))))
    (found,) = corrected([judged("", (below, {"a": measured(0.9999, spread=0.5)}))])
    assert found.words == "inconclusive; more than 1,000 replicates would decide it"
    (undecided,) = corrected([judged("", (below, {"a": Ratio(0.5, NAN, NAN, (-0.7,))}))])
    assert undecided.words == "inconclusive"
