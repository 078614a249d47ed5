import math

import numpy as np
import pandas as pd
import pytest

from paper_figures.evidence.intervals import (
    Ratio,
    Verdict,
    above,
    below,
    best,
    both,
    by_seed,
    half_width,
    interval,
    ratio,
    within,
)

C, X, I, U = Verdict.CONFIRMED, Verdict.CONTRADICTED, Verdict.INCONCLUSIVE, Verdict.UNTESTED  # noqa: E741


def test_half_width_is_students():
    """t(0.975, 2 degrees of freedom) = 4.3027; s = 1, n = 3."""
    assert half_width(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert half_width(np.array([2.0, 2.0, 2.0]), extra_variance=0.25) == pytest.approx(4.3027 / 2, rel=1e-4)
    assert math.isnan(half_width(np.array([1.0])))


def test_a_ratio_is_paired():
    """Replicates that differ by a factor of 100, both sides alike: the ratio is known all the same."""
    a, b = pd.Series({0: 1.0, 1: 10.0, 2: 100.0}), pd.Series({2: 200.0, 1: 20.0, 0: 2.0})
    found = ratio(a, b)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    wide = ratio(a, b, lent=(0.01, 0.0))
    assert wide.low == pytest.approx(0.5 * math.exp(-0.43027), rel=1e-4)


def test_networks_trained_apart_are_inconclusive_where_their_intervals_overlap():
    """1, 2, 3 and 1.5, 3, 4.5: the ratio is exactly 2 / 3, the intervals -0.48 to 4.48 and -0.73 to 6.73 overlap."""
    a, b = pd.Series([1.0, 2.0, 3.0]), pd.Series([1.5, 3.0, 4.5])
    assert below(ratio(a, b)) == C
    found = ratio(a, b, apart=True)
    assert (found.low, found.high) == pytest.approx((2 / 3, 2 / 3))
    assert (found.least, found.most) == (pytest.approx(-0.4843 / 6.7265, rel=1e-3), math.inf)
    assert below(found) == above(found) == I
    assert "intervals overlap" in str(found)
    far = ratio(a, b + 100, apart=True)
    assert (far.most, below(far)) == (pytest.approx(4.4843 / 99.2735, rel=1e-3), C)
    assert "overlap" not in str(far)


def test_what_is_lent_widens_both_intervals():
    a = pd.Series([2.0, 2.0, 2.0])
    assert interval(a, 0.01) == pytest.approx((2 - 2 * 0.43027, 2 + 2 * 0.43027), rel=1e-4)
    found = ratio(a, a, (0.01, 0.0), apart=True)
    assert (found.least, found.most) == pytest.approx((1 - 0.43027, 1 + 0.43027), rel=1e-4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Ratio(0.5, 0.4, 0.6), "0.50 (0.40 to 0.60)"),
        (Ratio(0.99, 0.98, 1.01), "0.990 (0.980 to 1.010)"),
        (Ratio(0.9995, 0.999, 0.9999), "0.9995 (0.9990 to 0.9999)"),
    ],
)
def test_ratios_near_one_have_more_digits(value, text):
    assert str(value) == text


def test_a_ratio_with_one_replicate_or_none():
    one = ratio(pd.Series({0: 1.0}), pd.Series({0: 2.0}))
    assert one.estimate == 0.5
    assert below(one) == I
    assert "one replicate" in str(one)
    with pytest.raises(ValueError, match="no replicate in common"):
        ratio(pd.Series({0: 1.0}), pd.Series({1: 2.0}))


def test_a_diverged_side_loses():
    broken, sound = pd.Series({0: math.inf, 1: math.inf}), pd.Series({0: 2.0, 1: 2.0})
    assert above(ratio(broken, sound), 2) == C
    assert below(ratio(sound, broken)) == C
    assert below(ratio(broken, broken)) == I


@pytest.mark.parametrize(
    ("rule", "value", "verdict"),
    [
        (below, Ratio(0.5, 0.4, 0.6), C),
        (below, Ratio(0.9, 0.8, 1.1), I),
        (below, Ratio(1.5, 1.2, 1.8), X),
        (above, Ratio(1.5, 1.2, 1.8), C),
        (above, Ratio(0.9, 0.8, 1.1), I),
        (above, Ratio(0.5, 0.4, 0.6), X),
        (lambda v: within(v, 1.5), Ratio(1.0, 0.9, 1.1), C),
        (lambda v: within(v, 1.5), Ratio(0.7, 0.6, 0.8), I),
        (lambda v: within(v, 1.5), Ratio(0.5, 0.4, 0.6), X),
        (lambda v: within(v, 1.5), Ratio(2.0, 1.6, 2.4), X),
        (below, Ratio(0.5, math.nan, math.nan), I),
    ],
)
def test_rules(rule, value, verdict):
    assert rule(value) == verdict


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [((C, C), C), ((C, X), X), ((I, X), X), ((C, I), I), ((C, U), U), ((), U)],
)
def test_a_statement_of_several_parts(parts, verdict):
    assert both(*parts) == verdict


def test_the_best_schedule_is_chosen_on_the_other_replicates():
    """k = 1 is best in replicates 0 and 1 by much, k = 2 in replicate 2 by luck: that luck does not count."""
    rows = [(0, 1, 1.0), (0, 2, 3.0), (1, 1, 1.0), (1, 2, 3.0), (2, 1, 1.5), (2, 2, 0.9)]
    frame = pd.DataFrame(rows, columns=["seed", "iterations", "fid"])
    assert best(frame).to_dict() == {0: 1.0, 1: 1.0, 2: 1.5}
    assert best(frame[frame.seed == 2]).to_dict() == {2: 0.9}


def test_cells_of_a_replicate_are_averaged_geometrically():
    frame = pd.DataFrame({"seed": [0, 0, 1], "fid": [1.0, 4.0, 3.0]})
    assert by_seed(frame).to_dict() == pytest.approx({0: 2.0, 1: 3.0})


def test_estimates_taken_as_exact_decide():
    wide, single = Ratio(0.9, 0.5, 1.6, least=0.4, most=2.0), Ratio(1.2, math.nan, math.nan)
    assert (below(wide.exact), above(wide.exact), within(wide.exact, 1.05)) == (C, X, X)
    assert (below(single.exact), above(single.exact), within(single.exact, 1.5)) == (X, C, C)
    assert below(Ratio(1.0, 0.9, 1.1).exact) == I
    assert below(Ratio(math.nan, math.nan, math.nan).exact) == I  # both diverged
    assert [below(wide), above(single)] == [I, I]
