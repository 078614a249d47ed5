"""Cells that are interrupted go on after their last whole batch, in memory that the number of samples leaves alone."""

import gc
import json
import os
import signal
import sys
import threading
import weakref
from dataclasses import replace
from multiprocessing import active_children

import pytest
import torch

from bench.evaluation import quality_cells, workers
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.kinds import StoppedError
from bench.evaluation.progress_bar import CellsBar
from bench.evaluation.workers import evaluate_all
from bench.machine.devices import usable_cores
from bench.profiling.peak_memory import PeakMemory
from bench.quality.meter import Measurement
from bench.sampling.sampler import CellSampler
from bench.sampling.setting import Setting
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.store.records import Store
from bench.training.turns import train_together

BATCHES = 6  # of 25 images, the last of 5: features are taken by the hundred, so that images wait for the next batch


@pytest.fixture(scope="module")
def trained_store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("results"), "digits")


@pytest.fixture(scope="module")
def grid(tiny_suite, trained_store):
    suite = replace(tiny_suite, evaluation=replace(tiny_suite.evaluation, batch_size=25))
    grid = get_cells("allocation", suite, Selection(budgets=(28,), train_steps=10, samples=130, seeds=(0,)))
    cells = [cell for cell in grid if cell.measure == "quality"]
    train_together(list(dict.fromkeys(c.run for c in cells)), trained_store, torch.device("cpu"))
    return cells


@pytest.fixture(params=["constant", "adaptive"])
def cell(request, grid):
    return next(c for c in grid if c.allocation == request.param and c.iterations == 5)


def interrupt_at(monkeypatch, batch):
    """Ctrl-C while batch number `batch` is sampled."""
    sample = CellSampler.sample

    def interrupted(self, cell, indices, solver, purpose="sample"):
        if purpose == "sample" and indices.start == 25 * batch and len(indices) > 1:
            raise KeyboardInterrupt
        return sample(self, cell, indices, solver, purpose)

    monkeypatch.setattr(CellSampler, "sample", interrupted)


def samples_drawn(monkeypatch):
    """Collects the indices that are sampled from now on, the one image of the latency aside."""
    drawn, sample = [], CellSampler.sample

    def noted(self, cell, indices, solver, purpose="sample"):
        drawn.extend(indices if purpose == "sample" and len(indices) > 1 else ())
        return sample(self, cell, indices, solver, purpose)

    monkeypatch.setattr(CellSampler, "sample", noted)
    return drawn


def outcome(record):
    return record.status, record.metrics, record.cost, record.samples_digest


def test_a_cell_interrupted_at_80_percent_samples_one_batch_again_at_most(cell, trained_store, cpu, monkeypatch):
    whole = outcome(Evaluator(Setting(trained_store, cpu)).evaluate(cell))
    assert whole[0] == "done"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            Evaluator(Setting(trained_store, cpu)).evaluate(cell)
    assert trained_store.fraction_done(cell) == pytest.approx(5 / BATCHES)
    drawn = samples_drawn(monkeypatch)
    record = Evaluator(Setting(trained_store, cpu)).evaluate(cell)
    assert drawn == list(range(125, 130))
    assert outcome(record) == whole
    assert 0 < record.timing["sampling_s"] < record.timing["total_s"]
    assert trained_store.fraction_done(cell) == 0
    assert not trained_store.partial_folder(cell).exists()


@pytest.mark.parametrize("change", ["code", "threads", "damage", "gap"])
def test_batches_that_cannot_be_used_are_drawn_again(change, grid, trained_store, cpu, monkeypatch):
    cell = next(c for c in grid if c.allocation == "constant" and c.iterations == 5)
    whole = outcome(Evaluator(Setting(trained_store, cpu)).evaluate(cell))
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            Evaluator(Setting(trained_store, cpu)).evaluate(cell)
    second = trained_store.partial_folder(cell) / "batch-00001.safetensors"
    threads = torch.get_num_threads()
    if change == "code":
        monkeypatch.setattr(quality_cells, "code_digest", lambda: "another")
    elif change == "threads":  # times of batches are added up
        torch.set_num_threads(threads + 1)
    elif change == "damage":
        second.write_bytes(second.read_bytes()[:-1])
    else:
        second.unlink()
    drawn = samples_drawn(monkeypatch)
    try:
        record = Evaluator(Setting(trained_store, cpu)).evaluate(cell)
    finally:
        torch.set_num_threads(threads)
    assert drawn == list(range(0 if change in ("code", "threads") else 25, 130))
    if change != "threads":
        assert outcome(record) == whole


def test_batches_that_cannot_be_used_do_not_count_as_progress(grid, trained_store, cpu, monkeypatch):
    """Nor stay on disk: here all but the first two, once the cell is gone on with."""
    cell = replace(grid[0], seed=40)
    interrupt_at(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        Evaluator(Setting(trained_store, cpu)).evaluate(cell)
    (trained_store.partial_folder(cell) / "batch-00002.safetensors").write_bytes(b"")
    before = trained_store.batches_done(cell)
    assert len(before) == 5
    with pytest.raises(StoppedError):
        Evaluator(Setting(trained_store, cpu, stopping=lambda: True)).evaluate(cell)
    after = trained_store.batches_done(cell)
    assert {name for name, _ in after} == {f"batch-0000{i}.safetensors" for i in range(3)}
    assert len(after - before) == 1
    assert trained_store.fraction_done(replace(cell, seed=39)) == 0


def test_a_cell_that_is_asked_to_stop_ends_after_its_batch(grid, trained_store, cpu):
    cell = replace(grid[0], seed=41)
    answers = iter([False, True])
    with pytest.raises(StoppedError):
        Evaluator(Setting(trained_store, cpu, stopping=lambda: next(answers))).evaluate(cell)
    assert trained_store.read(cell) is None
    assert trained_store.fraction_done(cell) == pytest.approx(2 / BATCHES)


@pytest.mark.slow
def test_workers_end_after_their_batches_when_the_run_is_interrupted(grid, trained_store, cpu, capfd):
    """A batch takes some 20 ms: the long cell has 800 and the others 80, so one of these ends in the time given."""
    short = replace(grid[0], seed=42, protocol=replace(grid[0].protocol, samples=2000))
    long = replace(grid[0], seed=43, protocol=replace(grid[0].protocol, samples=20_000))
    queued = [replace(short, seed=seed) for seed in range(60, 64)]
    records = evaluate_all([short, long, *queued], Setting(trained_store, cpu, workers=2))
    assert next(records).key == short.key
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        list(records)
    assert "finishing the batches under way; Ctrl-C again ends at once" in capfd.readouterr().err
    assert active_children() == []
    assert trained_store.read(long) is None
    assert trained_store.fraction_done(long) < 0.9
    begun = [cell for cell in queued if trained_store.batches_done(cell) or trained_store.read(cell)]
    assert len(begun) <= 1  # by the worker of the short cell, before the interruption; others were in its queue


def evaluate_and_die(cell, wait):
    """What a worker does with a cell, but it is killed while the third batch is looked at."""
    add, calls = Measurement.add, []

    def killed(self, images):
        calls.append(images)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return add(self, images)

    Measurement.add = killed
    return workers._evaluate(cell, wait)


@pytest.mark.slow
def test_a_killed_worker_leaves_its_batches_behind(grid, trained_store, cpu, monkeypatch):
    cell = replace(grid[0], seed=44)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_evaluate", evaluate_and_die)
        (record,) = evaluate_all([cell], Setting(trained_store, cpu), apart=True)
    assert record.status == "oom"
    assert trained_store.fraction_done(cell) == pytest.approx(4 / BATCHES)  # two, and two more when tried again
    drawn, threads = samples_drawn(monkeypatch), torch.get_num_threads()
    torch.set_num_threads(usable_cores())  # as the worker had: with others, batches would be sampled again
    try:
        assert Evaluator(Setting(trained_store, cpu)).evaluate(cell).status == "done"
    finally:
        torch.set_num_threads(threads)
    assert drawn == list(range(100, 130))


def test_images_are_let_go_of_batch_by_batch(grid, trained_store, cpu, monkeypatch):
    """Also of those whose features wait for the next batch: at most what a hundred features take."""
    alive, seen, add = [], [], Measurement.add

    def noted(self, images):
        completed = add(self, images)
        seen.extend(weakref.ref(tensor) for tensor in (images, self.waiting))
        gc.collect()
        alive.append(sum(len(kept) for ref in seen if (kept := ref()) is not None))
        return completed

    monkeypatch.setattr(Measurement, "add", noted)
    many = replace(grid[0], seed=45, protocol=replace(grid[0].protocol, samples=700))
    Evaluator(Setting(trained_store, cpu)).evaluate(many)
    assert len(alive) == 28
    assert max(alive) <= 25 + 25 + 100


def test_the_bar_counts_the_batches_of_cells_under_way(grid, trained_store, cpu):
    cells = [replace(grid[0], seed=seed) for seed in (46, 47)]
    answers = iter([False, False, True])
    evaluator = Evaluator(Setting(trained_store, cpu, stopping=lambda: next(answers)))
    with pytest.raises(StoppedError):
        evaluator.evaluate(cells[0])
    record = Evaluator(Setting(trained_store, cpu)).evaluate(cells[1])
    with CellsBar(cells, trained_store) as bar:
        bar.ended(record)
        assert bar._bar.n == pytest.approx(1.5 * cells[0].work)
    assert bar.failed == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is since the process began")
def test_peak_memory_is_that_of_the_work(cpu):
    before = PeakMemory(cpu).read()["host_peak_gib"]
    peak = PeakMemory(cpu)
    block = torch.ones(2**27)  # 0.5 GiB
    del block
    assert peak.read()["host_peak_gib"] == pytest.approx(before + 0.5, abs=0.1)
    assert PeakMemory(cpu).read()["host_peak_gib"] == pytest.approx(before, abs=0.1)


def test_a_record_tells_its_peak_memory(grid, trained_store, cpu):
    record = Evaluator(Setting(trained_store, cpu)).evaluate(replace(grid[0], seed=48))
    kept = json.loads(trained_store.record_path(replace(grid[0], seed=48)).read_text())
    assert kept["timing"]["host_peak_gib"] == record.timing["host_peak_gib"]
    assert 0.1 < record.timing["host_peak_gib"] < 8
