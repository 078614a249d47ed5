import math

import pytest

from models.diffusion.allocation import ALLOCATIONS, affordable_steps, allocate, find_threshold


@pytest.mark.parametrize("name", [name for name in ALLOCATIONS if name != "adaptive"])
def test_no_budget_is_exceeded_and_every_step_gets_an_iteration(name):
    """For every budget from 12 to 2000 blocks, several shells and every number of iterations that fits."""
    for budget in range(12, 2001):
        for shell in (0, 2, 8):
            for iterations in {1, 2, 3, 5, 6, 8, 12, 26, 68, budget - shell}:
                if iterations < 1 or not (steps := affordable_steps(budget, shell + iterations)):
                    continue
                counts = allocate(name, steps, iterations)
                assert len(counts) == steps
                assert min(counts) >= 1
                assert sum(counts) == steps * iterations
                assert steps * shell + sum(counts) <= budget
                assert list(counts) == sorted(counts, reverse=name == "decreasing")


def test_heuristics_are_linear_and_mirror_each_other():
    counts = allocate("increasing", 11, 10)
    assert counts == (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    assert allocate("decreasing", 11, 10) == counts[::-1]
    assert allocate("constant", 11, 10) == (10,) * 11
    fine = allocate("increasing", 40, 5)
    assert (fine[0], fine[-1]) in {(2, 7), (3, 7), (2, 8), (3, 8)}
    assert sum(fine[20:]) > sum(fine[:20])


@pytest.mark.parametrize(("name", "iterations", "message"), [("sideways", 3, "sideways"), ("increasing", 0, "got 0")])
def test_bad_values_are_named(name, iterations, message):
    with pytest.raises(ValueError, match=message):
        allocate(name, 4, iterations)


@pytest.mark.parametrize("budget", [1.3, 2.0, 5.0, 11.9])
def test_the_threshold_meets_the_budget_from_below(budget):
    """An error that falls by 4 with each iteration ends after log_4(1 / threshold) of them."""

    def spend(threshold):
        return min(12.0, max(1.0, 1 + math.log(1 / threshold, 4)))

    threshold, spent = find_threshold(spend, budget, probes=12)
    assert spent == spend(threshold)
    assert 0.995 * budget <= spent <= budget


def test_a_budget_below_every_spending_leaves_one_iteration_a_step():
    threshold, spent = find_threshold(lambda threshold: 3.0, 2.0)
    assert threshold == math.inf
    assert math.isnan(spent)


def test_budget_is_never_exceeded_and_steps_are_bounded():
    for budget in (30, 140, 281, 560):
        for per_step in range(1, 40):
            steps = affordable_steps(budget, per_step)
            assert steps * per_step <= budget < (steps + 1) * per_step
    assert affordable_steps(10**6, 3) == 1000
