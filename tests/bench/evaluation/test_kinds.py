"""What a cell can be evaluated for beside quality, and what its samples cost."""

from dataclasses import replace

import pytest
import torch

from bench.evaluation.evaluator import Evaluator
from bench.evaluation.plan import needed_runs
from bench.sampling.sampler import CellSampler
from bench.sampling.setting import Setting
from bench.sampling.solvers import solver_of
from bench.spec.cells import Cell
from bench.spec.grids.catalogue import get_cells
from bench.spec.measurements import Footprint
from bench.spec.selection import Selection
from bench.store.records import Store, missing
from bench.training.turns import train_together
from models.diffusion.samplers import SAMPLERS
from models.families import build
from models.fixed_point.solvers import FixedCount

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cells(tiny_suite):
    return get_cells("all", tiny_suite, Selection(budgets=(56,), train_steps=30, samples=48, seeds=(0,)))


@pytest.fixture(scope="module")
def trained(tiny_suite, cells, tmp_path_factory):
    """A store with the suite's own twins, briefly trained."""
    store = Store(tmp_path_factory.mktemp("results"), "digits")
    train_together(
        [run for run in needed_runs(cells) if run.config in [one.config for one in tiny_suite.contenders]], store, CPU
    )
    return store


def choose(cells, **wanted):
    """The first cell whose line of --list has these values."""
    return next(c for c in cells if all(c.row()[name] == value for name, value in wanted.items()))


def own(cells, tiny_suite, **wanted):
    twin = (tiny_suite.subject.config, tiny_suite.subject.recipe)
    return choose([c for c in cells if isinstance(c, Cell) and (c.run.config, c.run.recipe) == twin], **wanted)


def test_adaptive_allocation_meets_its_budget_and_reports_what_it_spent(cells, trained, tiny_suite):
    cell = own(cells, tiny_suite, allocation="adaptive", iterations=5)
    record = Evaluator(Setting(trained, CPU)).evaluate(cell)
    assert record.status == "done"
    assert record.cost["comparable"] is True
    assert 0.9 * cell.budget < record.cost["block_passes"] <= 1.01 * cell.budget
    assert record.cost["block_passes"] == pytest.approx(2 * cell.steps + record.cost["injections"])
    assert record.cost["executed_block_passes"] >= record.cost["block_passes"]
    assert record.timing["search_s"] > 0


def test_adaptive_samples_do_not_depend_on_their_batch(cells, trained, tiny_suite):
    cell = own(cells, tiny_suite, allocation="adaptive", iterations=5)
    sampler = CellSampler(Setting(trained, CPU))
    solver = solver_of(cell, sampler)
    whole = sampler.sample(cell, range(12), solver).x
    split = torch.cat([sampler.sample(cell, range(i, i + 3), solver).x for i in range(0, 12, 3)])
    torch.testing.assert_close(split, whole, rtol=0, atol=1e-3)


def test_a_cell_that_overspends_says_so(cells, trained, tiny_suite, monkeypatch):
    cell = own(cells, tiny_suite, allocation="adaptive", iterations=5)
    # never satisfied: each step runs to its limit
    monkeypatch.setattr("bench.sampling.solvers.threshold_of", lambda cell, sampler: 0.0)
    record = Evaluator(Setting(trained, CPU)).evaluate(replace(cell, seed=9))
    assert record.cost["comparable"] is False
    assert record.cost["injections"] == 2 * 5 * cell.steps


@pytest.mark.parametrize("solver", ["iteration", "anderson", "broyden"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_solver_and_sampler_spends_what_its_cell_says(solver, sampler, cells, trained, tiny_suite):
    cell = own(cells, tiny_suite, measure="quality", iterations=3, allocation="constant", reuse=True)
    cell = replace(cell, solver=solver, sampler=sampler, protocol=replace(cell.protocol, samples=10))
    record = Evaluator(Setting(trained, CPU)).evaluate(cell)
    assert record.status == "done"
    assert record.cost["block_passes"] == record.cost["executed_block_passes"] == cell.block_passes
    assert record.cost["injections"] == cell.injections
    assert record.cost["macs"] == cell.macs


def test_images_are_kept_and_missed(cells, trained):
    cell = choose(cells, measure="images", guidance=4.0, model="fpdm")
    record = Evaluator(Setting(trained, CPU)).evaluate(cell)
    images = trained.read_images(cell, record)
    assert images.shape == (48, 1, 8, 8)
    whole = replace(cell, protocol=replace(cell.protocol, batch_size=48))
    sampled = CellSampler(Setting(trained, CPU)).sample(whole, range(48), FixedCount)
    expected = ((sampled.x.clamp(-1, 1) + 1) * 127.5).round()
    assert (torch.tensor(images).float() - expected).abs().max() <= 1
    assert missing(trained, [cell]) == []
    trained.images_path(cell).unlink()
    assert missing(trained, [cell]) == [cell]


def test_guidance_changes_the_samples_and_the_strips_do_not_have_it(cells, trained):
    pair = [choose(cells, measure="images", guidance=g, model="dit", samples=48) for g in (4.0, 1.0)]
    evaluator = Evaluator(Setting(trained, CPU))
    digests = {evaluator.evaluate(cell).samples_digest for cell in pair}
    assert len(digests) == 2


def test_convergence_is_recorded_by_batch_step_and_iteration(cells, trained, tiny_suite):
    residuals = {}
    for reuse in (True, False):
        cell = choose(cells, measure="convergence", reuse=reuse)
        record = Evaluator(Setting(trained, CPU)).evaluate(cell)
        residuals[reuse] = torch.tensor(record.series["residuals"])
        assert residuals[reuse].shape == (10, cell.steps, 26)
        assert (residuals[reuse] > 0).all()
    torch.testing.assert_close(residuals[True][:, 0], residuals[False][:, 0])  # the first step has nothing to reuse
    assert residuals[True][:, 1:, 0].mean() < residuals[False][:, 1:, 0].mean()


def test_a_footprint_needs_no_weights(tiny_suite, tmp_path):
    store = Store(tmp_path, "digits")
    cells = [c for c in get_cells("compute", tiny_suite, Selection()) if isinstance(c, Footprint)]
    assert [(c.model, c.size) for c in cells] == [(m, s) for m in ("dit", "fpdm") for s in ("digits", "XL/2")]
    for cell in cells[::2]:
        record = Evaluator(Setting(store, CPU)).evaluate(cell)
        count = sum(p.numel() for p in build(cell.config).parameters())
        assert record.metrics["parameters"] == count
        assert record.metrics["parameters_bytes"] == 4 * count
        assert record.inputs == {}
    assert missing(store, cells) == cells[1::2]
