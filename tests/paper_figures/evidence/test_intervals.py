import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from paper_figures.evidence.intervals import (
    Ratio,
    best,
    by_seed,
    half_width,
    ratio,
)


def test_half_width_is_students():
    """t(0.975, 2 degrees of freedom) = 4.3027; s = 1, n = 3."""
    assert half_width(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert math.isnan(half_width(np.array([1.0])))


def test_a_ratio_is_paired():
    """Replicates that differ by a factor of 100, both sides alike: the ratio is known all the same."""
    a, b = pd.Series({0: 1.0, 1: 10.0, 2: 100.0}), pd.Series({2: 200.0, 1: 20.0, 0: 2.0})
    found = ratio(a, b)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (found.p(), found.p(0.5)) == (0, 1)


@pytest.mark.parametrize("bound", [1.0, 1.5, 0.5])
def test_p_is_that_of_scipys_t_test(bound):
    values = np.array([0.7, 0.9, 0.85, 1.1, 0.6, 0.95])
    found = ratio(pd.Series(values), pd.Series(np.ones(6)))
    assert found.p(bound) == pytest.approx(ttest_1samp(np.log(values), math.log(bound)).pvalue)
    assert (found.p(bound) < 0.05) == (not found.low < bound < found.high)


@pytest.mark.parametrize(
    ("values", "p"),
    [((0.5,) * 6, 2 / 64), ((0.5, 0.6, 0.7), 2 / 8), ((0.5, 2.0), 1.0), ((0.5, 0.9, 1.2, 0.8), 6 / 16)],
)
def test_signs_flip(values, p):
    """Logs of the last are -0.69, -0.11, 0.18, -0.22: sums with 0.18, or 0.18 and -0.11, flipped are as far from 0."""
    found = ratio(pd.Series(values), pd.Series(np.ones(len(values))))
    assert found.flip_p == pytest.approx(p)
    assert f"p = {p:.2g})" in str(found)


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
    assert math.isnan(one.p())
    assert math.isnan(one.flip_p)
    assert "one replicate" in str(one)
    with pytest.raises(ValueError, match="no replicate in common"):
        ratio(pd.Series({0: 1.0}), pd.Series({1: 2.0}))


def test_a_diverged_side_has_no_noise():
    broken, sound = pd.Series({0: math.inf, 1: math.inf}), pd.Series({0: 2.0, 1: 2.0})
    assert (ratio(broken, sound).p(), ratio(sound, broken).p()) == (0, 0)
    assert math.isnan(ratio(broken, broken).p())


def test_the_best_schedule_is_chosen_on_the_other_replicates():
    """k = 1 is best in replicates 0 and 1 by much, k = 2 in replicate 2 by luck: that luck does not count."""
    rows = [(0, 1, 1.0), (0, 2, 3.0), (1, 1, 1.0), (1, 2, 3.0), (2, 1, 1.5), (2, 2, 0.9)]
    frame = pd.DataFrame(rows, columns=["seed", "iterations", "fid"])
    assert best(frame).to_dict() == {0: 1.0, 1: 1.0, 2: 1.5}
    assert best(frame[frame.seed == 2]).to_dict() == {2: 0.9}


def test_cells_of_a_replicate_are_averaged_geometrically():
    frame = pd.DataFrame({"seed": [0, 0, 1], "fid": [1.0, 4.0, 3.0]})
    assert by_seed(frame).to_dict() == pytest.approx({0: 2.0, 1: 3.0})
