import os
import signal
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch

from bench.data.pixels import load_dataset
from bench.evaluation import workers
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.workers import evaluate_all
from bench.machine.devices import usable_cores
from bench.sampling.sampler import CellSampler
from bench.sampling.setting import Setting
from bench.sampling.solvers import solver_of
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.store.records import missing
from bench.training.turns import train_together
from models.families import FAMILIES
from models.networks.blocks import DiTBlock

CONTENDERS = {  # name -> the numbers of the schedules that are evaluated
    "dit": (2,),
    "fpdm": (1, 5),
    "looped": (3,),
    "dit-cached": (2,),
    "fpdm-tied": (1,),
}


@pytest.fixture(scope="module")
def evaluated_store(tmp_path_factory):
    from bench.store.records import Store

    return Store(tmp_path_factory.mktemp("results"), "digits")


@pytest.fixture(scope="module")
def cells(tiny_suite, evaluated_store):
    """A cell of every family, and one that mixes reused solutions; two of FPDM."""
    wanted = Selection(budgets=(28,), train_steps=30, samples=66, seeds=(0,), models=(*CONTENDERS,))
    grid = get_cells("controls", tiny_suite, wanted)
    found = {(c.model, c.iterations): c for c in reversed(grid) if c.measure == "quality" and c.sampler == "ddpm"}
    cells = [found[name, number] for name, numbers in CONTENDERS.items() for number in numbers]
    train_together(list(dict.fromkeys(c.run for c in cells)), evaluated_store, torch.device("cpu"))
    assert {c.config.family for c in cells} == set(FAMILIES)
    return cells


def images(sampler, cell):
    """The images of each batch, as they were before they were rounded to 8 bits."""
    solver, size = solver_of(cell, sampler), cell.protocol.batch_size
    for first in range(0, cell.protocol.samples, size):
        yield sampler.sample(cell, range(first, min(first + size, cell.protocol.samples)), solver).x


def with_batch(cell, batch_size, samples=66):
    return replace(cell, protocol=replace(cell.protocol, batch_size=batch_size, samples=samples))


def test_a_sample_is_the_same_in_batches_of_1_7_and_64(cells, evaluated_store, cpu):
    """To 1e-4 in pixel units of -1..1: products of other shapes round differently."""
    sampler = CellSampler(Setting(evaluated_store, cpu))
    for cell in cells:
        whole = torch.cat(list(images(sampler, with_batch(cell, 64))))
        assert whole.shape == (66, 1, 8, 8)
        assert whole.std(dim=0).min() > 0.01  # samples differ from each other
        for size in (1, 7):
            split = torch.cat(list(images(sampler, with_batch(cell, size, samples=14))))
            torch.testing.assert_close(split, whole[:14], rtol=0, atol=1e-4)


def test_a_sample_is_the_same_with_one_thread_and_two(cells, evaluated_store, cpu):
    """What one worker and two workers on two cores differ in; to 1e-4 as above."""
    sampler, before = CellSampler(Setting(evaluated_store, cpu)), torch.get_num_threads()
    try:
        for cell in cells:
            drawn = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                drawn.append(torch.cat(list(images(sampler, cell))))
            torch.testing.assert_close(*drawn, rtol=0, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_a_sample_depends_on_its_seed(cells, evaluated_store, cpu):
    sampler = CellSampler(Setting(evaluated_store, cpu))
    first, second = (next(images(sampler, replace(cells[0], seed=seed))) for seed in (0, 1))
    assert not torch.allclose(first, second, atol=0.1)


def test_one_and_two_workers_give_the_same_records(cells, evaluated_store, cpu):
    """Digests of 8-bit samples and metrics are equal where the thread count is; with others, to rounding."""
    results = []
    for count in (1, 2):
        records = {r.key: r for r in evaluate_all(cells, Setting(evaluated_store, cpu, count))}
        assert {r.status for r in records.values()} == {"done"}
        results.append(records)
    for key, alone in results[0].items():
        pair = results[1][key]
        assert (pair.timing["workers"], alone.timing["workers"]) == (2, 1)
        assert pair.metrics["fid"] == pytest.approx(alone.metrics["fid"], rel=1e-3)
        assert pair.metrics["kid"] == pytest.approx(alone.metrics["kid"], rel=1e-2, abs=1e-4)
    assert missing(evaluated_store, cells) == []


def test_one_cell_made_again_is_timed_like_the_others(cells, evaluated_store, cpu):
    """As many threads as it would have beside other workers: else its times would not be compared with theirs."""
    (record,) = evaluate_all(cells[:1], Setting(evaluated_store, cpu, workers=2))
    assert (record.timing["workers"], record.timing["threads"]) == (2, max(1, usable_cores() // 2))


def test_a_record_tells_what_it_is_made_from(cells, evaluated_store, cpu):
    cell = next(c for c in cells if c.model == "fpdm" and c.iterations == 5)
    record = Evaluator(Setting(evaluated_store, cpu)).evaluate(cell)
    assert record == evaluated_store.read(cell)
    assert record.inputs["checkpoint"] == evaluated_store.read_training(cell.run)["digest"]
    assert record.inputs["reference"] == load_dataset("digits").digest
    expected = {
        "block_passes": 28,
        "injections": 20,
        "macs": cell.macs,
        "executed_block_passes": 28,
        "comparable": True,
    }
    assert record.cost == expected
    assert record.timing["images_per_s"] == pytest.approx(66 / record.timing["sampling_s"])
    assert record.environment["threads"] == torch.get_num_threads()


def test_reported_cost_equals_counted_calls(cells, evaluated_store, cpu):
    """Block passes and injections counted by hooks while one image is sampled."""
    sampler = CellSampler(Setting(evaluated_store, cpu))
    for cell in cells:
        cell = replace(cell, protocol=replace(cell.protocol, samples=1, batch_size=1))
        model, _ = sampler.network(cell)
        count: Counter[str] = Counter()
        handles = []
        for name, module in model.named_modules():
            for what, matches in (("blocks", isinstance(module, DiTBlock)), ("injections", name.endswith("proj_fc2"))):
                if matches:
                    hook = partial(lambda count, what, *_: count.update([what]), count, what)
                    handles.append(module.register_forward_hook(hook))
        list(images(sampler, cell))
        for handle in handles:
            handle.remove()
        assert count["blocks"] == cell.block_passes
        assert count["injections"] == cell.injections


def test_samples_that_are_not_finite_end_as_diverged(cells, evaluated_store, cpu):
    evaluator = Evaluator(Setting(evaluated_store, cpu))
    cell = replace(cells[0], seed=99)
    model, _ = evaluator._sampler.network(cell)
    with torch.no_grad():
        model.final_layer.linear.bias.fill_(float("nan"))
    record = evaluator.evaluate(cell)
    assert (record.status, record.reason) == ("diverged", "samples are not finite")
    assert record.metrics == {}
    assert missing(evaluated_store, [cell]) == [cell]


def test_records_of_earlier_weights_do_not_count(cells, evaluated_store, cpu):
    from bench.system.files import write_json

    cell = cells[0]
    Evaluator(Setting(evaluated_store, cpu)).evaluate(cell)
    path = evaluated_store.training_path(cell.run)
    summary = evaluated_store.read_training(cell.run)
    write_json(path, {**summary, "digest": "0" * 64})
    assert missing(evaluated_store, [cell]) == [cell]
    write_json(path, summary)
    assert missing(evaluated_store, [cell]) == []


def evaluate_or_die(cell, wait):
    """What a worker does with a cell, but the kernel's OOM killer strikes at seed 77."""
    if cell.seed == 77:
        os.kill(os.getpid(), signal.SIGKILL)
    return workers._evaluate(cell, wait)


@pytest.mark.slow
def test_a_cell_whose_process_is_killed_gets_a_record_and_the_others_are_evaluated(
    cells, evaluated_store, cpu, monkeypatch
):
    victim, bystander = replace(cells[0], seed=77), replace(cells[1], seed=78)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_evaluate", evaluate_or_die)  # spawned workers import this module for it
        records = {r.key: r for r in evaluate_all([victim, bystander], Setting(evaluated_store, cpu, 2))}
    assert records[victim.key].status == "oom"
    assert "killed" in records[victim.key].reason
    assert records[bystander.key].status == "done"
    assert missing(evaluated_store, [victim, bystander]) == [victim]
