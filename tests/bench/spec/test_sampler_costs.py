"""What a sampler that evaluates the network twice a step costs, and how many steps a budget buys it."""

from dataclasses import replace

import pytest
import torch

from bench.sampling.cost import cost_of
from bench.spec.accounts import Account, Prices
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from models.diffusion.allocation import ALLOCATIONS, affordable_steps
from models.diffusion.samplers import SAMPLERS
from models.families import forward_macs

DIGITS = get_suite("digits")
DIT, FPDM = DIGITS.baseline.config, DIGITS.subject.config
PRICES = Prices({"dit": DIT, "fpdm": FPDM}, 125, "abacus", {"dit": 0.028, "fpdm": 0.004}, {"iteration": 0.002})


def cells(grid="samplers", **selection):
    found = get_cells(grid, DIGITS, Selection(**{"seeds": (0,), "prices": PRICES} | selection))
    return [cell for cell in found if cell.run is not None]


def cell_of(model, sampler, iterations, budget=280, **selection):
    (cell,) = (
        one for one in cells(budgets=(budget,), models=(model,), **selection)
        if (one.sampler, one.iterations) == (sampler, iterations)
    )  # fmt: skip
    return cell


def test_the_grid_has_every_sampler_for_every_contender():
    found = {(cell.model, cell.sampler) for cell in cells()}
    assert found == {(model, sampler) for model in ("dit", "fpdm") for sampler in SAMPLERS}
    assert {"euler", "heun"} <= set(SAMPLERS)


@pytest.mark.parametrize(("budget", "steps", "passes"), [(140, 3, 140), (280, 5, 252), (560, 10, 532)])
def test_dit_takes_half_the_steps_with_heun(budget, steps, passes):
    """5, 10 and 20 evaluations: two a step, one at the last."""
    cell = cell_of("dit", "heun", 26, budget)
    assert (cell.steps, cell.evaluations, cell.block_passes) == (steps, 2 * steps - 1, passes)
    assert cell.macs == cell.evaluations * forward_macs(DIT)
    assert cell_of("dit", "euler", 26, budget).steps == affordable_steps(budget, 28) == budget // 28
    assert affordable_steps(budget, 28, "heun") == steps


@pytest.mark.parametrize(("account", "evaluations"), [("blocks", 40), ("macs", 32), ("seconds", 20)])
def test_fpdm_spends_as_much_with_heun_as_with_euler(account, evaluations):
    """At 280 passes and 5 iterations; prices in seconds are 28 ms against 4 + 5 x 2."""
    once, twice = (cell_of("fpdm", name, 5, account=account) for name in ("euler", "heun"))
    assert (once.steps, once.evaluations) == (evaluations, evaluations)
    assert (twice.steps, twice.evaluations) == (evaluations // 2, evaluations - 1)
    assert twice.block_passes == 7 * twice.evaluations
    assert twice.injections == 5 * twice.evaluations
    assert twice.macs == forward_macs(FPDM, 5) * twice.evaluations
    assert twice.work == twice.macs * twice.protocol.samples
    priced = Account(account, PRICES)
    assert priced.run_price(FPDM, 5, twice.steps, "heun") == pytest.approx(
        twice.evaluations * priced.step_price(FPDM, 5)
    )
    assert priced.buys(DIT, twice)
    assert not priced.buys(DIT, replace(twice, steps=twice.steps + 1))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("account", ["blocks", "macs", "seconds"])
def test_no_sampler_exceeds_a_budget_and_one_more_step_would(sampler, account):
    for cell in (one for one in cells(account=account) if one.sampler == sampler):
        priced = Account(account, PRICES)
        spent, more = (
            priced.run_price(cell.config, cell.iterations, steps, sampler) for steps in (cell.steps, cell.steps + 1)
        )
        allowed = cell.budget if account == "blocks" else cell.budget // 28 * priced.step_price(DIT)
        assert spent <= allowed * (1 + 1e-12) < more


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("sampler", ["ddim", "heun"])
@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_every_allocation_spends_the_same(sampler, allocation, steps):
    constant = replace(cell_of("fpdm", sampler, 5), steps=steps)
    cell = replace(constant, allocation=allocation)
    assert len(cell.counts) == steps
    assert (cell.block_passes, cell.injections, cell.macs) == (
        constant.block_passes, constant.injections, constant.macs,
    )  # fmt: skip


def test_a_cached_dit_runs_both_evaluations_of_a_full_step_whole():
    """Steps 0 and 3 of 5 run all 28 blocks, the others 8; the last makes one evaluation."""
    (cell,) = (
        one for one in cells("controls", models=("dit-cached",), budgets=(280,))
        if (one.sampler, one.n_pre, one.iterations) == ("ddim", 4, 4)
    )  # fmt: skip
    heun = replace(cell, sampler="heun", steps=5, iterations=3)
    assert heun.counts == (28, 8, 8, 28, 8)
    assert heun.block_passes == 2 * (28 + 8 + 8 + 28) + 8
    assert Account().run_price(heun.config, 3, 5, "heun") == heun.block_passes


def test_what_was_counted_is_charged():
    """10 images in batches of 8: each evaluation's iterations, and two blocks around them."""
    cell = cell_of("fpdm", "heun", 5)
    cell = replace(cell, protocol=replace(cell.protocol, samples=10, batch_size=8))
    cost = cost_of(cell, torch.full((10,), 5 * 39), 2 * 5 * 39)
    assert cost == {
        "block_passes": 273, "injections": 195, "macs": cell.macs, "executed_block_passes": 273, "comparable": True,
    }  # fmt: skip
    assert not cost_of(cell, torch.full((10,), 5 * 40), 2 * 5 * 40)["comparable"]
