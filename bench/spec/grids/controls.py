"""Experiments on what explains a lead of the subject: controls, their learning rates, and training time."""

from dataclasses import replace
from itertools import product

from bench.spec.contenders import Suite
from bench.spec.grids.enumeration import MIDDLE, contenders
from bench.spec.grids.registry import grid
from bench.spec.measurements import BUDGETS, AnyCell
from bench.spec.selection import Selection, for_ablations

ITERATIONS = (1, 2, 3, 5)  # as many schedules as a cached DiT has; those of Table 1 with the most timesteps
RATES = (0.5, 1.0, 2.0)  # factors of a recipe's learning rate
RATE_SEED = 1000  # of these trainings and their samples: no replicate has it
RATE_ITERATIONS = (2, 5)
LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # factors of a suite's training budget


def _joined(suite: Suite, selection: Selection, name: str) -> Selection:
    """The selection with the contenders that take part in a grid.

    Controls that no one named are left out where the smallest budget does not buy them a step.
    """
    chosen, least = suite.chosen(selection.models, name), min(selection.budgets or BUDGETS)
    if selection.models is None:
        usual = suite.chosen(None)
        chosen = tuple(one for one in chosen if one in usual or one.family.least_passes(one.config) <= least)
    return replace(selection, models=tuple(one.name for one in chosen))


@grid("beyond the paper", "contenders that could explain FPDM's lead: shallow, looped and cached DiT; DDPM and DDIM")
def controls(suite: Suite, selection: Selection) -> list[AnyCell]:
    """All contenders and controls at three budgets, each with its schedules to choose among."""
    cells: list[AnyCell] = []
    joined = _joined(suite, selection, "controls")
    for sampler in ("ddpm", "ddim"):
        cells += contenders(suite, joined, BUDGETS, ITERATIONS, sampler=sampler)
    return cells


@grid("beyond the paper", "FPDM with one iteration at as many timesteps as it has with 2, 3 and 5 at 280 block passes")
def equal_timesteps(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Whether iterating is needed at equal timesteps: cells of several iterations, and of one.

    The budget of those with one iteration is what they spend, below 280. There are none in other accounts, where that
    is no budget.
    """
    subject, account = suite.subject, selection.accounting
    if account.name != "blocks" or subject not in suite.chosen(selection.models):
        return []
    cells: list[AnyCell] = []
    several = ITERATIONS[1:]
    alone = replace(selection, models=(subject.name,))
    for budget, sampler in product((one for one in MIDDLE if one in (selection.budgets or MIDDLE)), ("ddpm", "ddim")):
        steps = (account.steps(suite.baseline.config, budget, subject.config, k, sampler) for k in several)
        spent = tuple(int(account.run_price(subject.config, 1, n, sampler)) for n in dict.fromkeys(steps) if n)
        cells += contenders(suite, replace(alone, budgets=(budget,)), MIDDLE, several, sampler=sampler)
        cells += contenders(suite, replace(alone, budgets=spent), spent, (1,), sampler=sampler)
    return cells


@grid("beyond the paper", "each family at half, once and twice its learning rate, on a seed of its own")
def learning_rates(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Whether a family suffers from another's learning rate."""
    cells: list[AnyCell] = []
    joined = replace(_joined(suite, selection, "learning-rates"), seeds=(RATE_SEED,))
    for factor in RATES:
        scaled = (replace(one, recipe=one.recipe.at_rate(factor)) for one in suite.contenders)
        at_rate = replace(suite, contenders=tuple(scaled))
        cells += contenders(at_rate, joined, MIDDLE, RATE_ITERATIONS)
    return cells


@grid("beyond the paper", "training for 1/4, 1/2, 1, 2 and 4 times the suite's budget, at 280 block passes")
def training_time(suite: Suite, selection: Selection) -> list[AnyCell]:
    """Whether the order of contenders changes as training grows."""
    cells: list[AnyCell] = []
    for factor in LENGTHS:
        cells += contenders(suite, lasting(suite, selection, factor), MIDDLE, ITERATIONS)
    return cells


def lasting(suite: Suite, selection: Selection, factor: float) -> Selection:
    """The selection of `training_time` at a multiple of its training budget."""
    joined = for_ablations(suite, _joined(suite, selection, "training-time"))
    steps = selection.train_steps
    if factor == 1:
        return joined
    if steps is not None:
        return replace(joined, train_steps=max(1, round(factor * steps)))
    seconds = selection.train_seconds or suite.baseline.recipe.seconds
    return replace(joined, train_seconds=factor * seconds)
