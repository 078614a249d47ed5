"""Sampling on a GPU that is not there: every family, sampler, solver and allocation, to features and metrics."""

from dataclasses import replace

import pytest
import torch
from pretend_gpu import CUDA

from bench.evaluation.evaluator import Evaluator
from bench.sampling.sampler import CellSampler
from bench.sampling.setting import Setting
from bench.sampling.solvers import SOLVERS, solver_of
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.store.records import Store
from bench.training.turns import train_together
from models.diffusion.allocation import ALLOCATIONS
from models.diffusion.samplers import SAMPLERS
from models.families import FAMILIES

CONTENDERS = ("dit", "fpdm", "looped", "dit-cached", "fpdm-tied")


@pytest.fixture(scope="module")
def cells(tiny_suite, tmp_path_factory):
    """Store, and a quality cell of each contender, in fp16; those that iterate have three iterations."""
    store = Store(tmp_path_factory.mktemp("results"), "digits")
    wanted = Selection(budgets=(28,), train_steps=1, samples=10, seeds=(0,), models=CONTENDERS, dtype="fp16")
    found = [cell for cell in get_cells("controls", tiny_suite, wanted) if cell.measure == "quality"]
    chosen = {cell.model: cell for cell in found if cell.sampler == "ddpm" and cell.iterations in (2, 3)}
    chosen |= {cell.model: cell for cell in found if cell.model not in chosen}
    train_together(list(dict.fromkeys(cell.run for cell in chosen.values())), store, torch.device("cpu"))
    assert {cell.config.family for cell in chosen.values()} == set(FAMILIES)
    return store, chosen


def sampled(cells, cell):
    """The batches of a cell on the GPU."""
    sampler = CellSampler(Setting(cells[0], CUDA))
    batches = list(sampler.batches(cell, solver_of(cell, sampler, record_residuals=True), None))
    assert [len(batch.images) for batch in batches] == [8, 2]
    assert {batch.images.device.type for batch in batches} == {batch.taken.device.type for batch in batches} == {"cpu"}
    return batches


@pytest.mark.parametrize(
    ("sampler", "dtype"), [*((name, "fp16") for name in SAMPLERS), ("ddpm", "fp32"), ("ddpm", "bf16")]
)
@pytest.mark.parametrize("model", CONTENDERS)
def test_every_contender_and_sampler(model, sampler, dtype, cells, gpu):
    cell = cells[1][model]
    sampled(cells, replace(cell, sampler=sampler, protocol=replace(cell.protocol, dtype=dtype)))
    low = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    assert gpu.seen["_scaled_dot_product_efficient_attention"] == {low}


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("model", CONTENDERS)
def test_with_and_without_guidance_and_reuse(model, guidance, cells, gpu):
    cell = cells[1][model]
    protocol = replace(cell.protocol, guidance_scale=guidance, guidance_channels=1)
    sampled(cells, replace(cell, protocol=protocol, reuse=False if model == "fpdm" else cell.reuse))


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_and_allocation(solver, allocation, cells, gpu):
    cell = replace(cells[1]["fpdm"], solver=solver, allocation=allocation)
    residuals = [step for batch in sampled(cells, cell) for step in batch.residuals]
    assert {step.device for step in residuals} == {CUDA}
    assert all(step.dtype == torch.float32 for step in residuals)


@pytest.mark.parametrize("measure", ["quality", "images", "convergence"])
def test_a_cell_becomes_a_record(measure, cells, gpu):
    """Decoding, features, metrics, peak memory; what is measured of zeros."""
    cell = replace(cells[1]["fpdm"], measure=measure)
    record = Evaluator(Setting(cells[0], CUDA)).evaluate(cell)
    assert (record.status, record.reason) == ("done", "")
    assert record.environment["hardware"] == "pretended GPU"
