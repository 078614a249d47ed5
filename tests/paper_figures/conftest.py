"""Made-up records: complete grids whose best schedule, ratios and verdicts are known."""

import math
from hashlib import sha256

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_up import speed

from bench.spec.grids.catalogue import get_cells
from bench.spec.measurements import Floor, Footprint, Speed, calibration
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.own_images import read_own
from bench.store.prices import resolved
from bench.store.records import Record, Store
from bench.system.files import write_json
from paper_figures.evidence.gather import Evidence

SHARES = {"precision": 0.8, "recall": 0.4}  # older records, those of digits, do not have them


def fid_of(cell):
    """A made-up quality whose best schedule is known: k = 5 at every budget, DiT worse."""
    if cell.run.model == "dit":
        return 4.0 * 140 / cell.budget + cell.seed
    cold = 0.0 if cell.reuse else 2.0 / cell.iterations
    return 1.0 + 0.1 * math.log(cell.iterations / 5) ** 2 + 0.5 * cell.seed + cold


def residuals_of(cell):
    """10 batches, the cell's steps and iterations: falling by a third an iteration, lower with reuse."""
    batch, step, k = np.ogrid[:10, : cell.steps, : cell.iterations]
    start = (0.3 if cell.reuse else 1.0) * (1 + 0.02 * batch) * (1 + 0.1 * step)
    return (start * 0.67**k).tolist()


def measured(cell, store, fid):
    """What an evaluation of this measure would report."""
    if isinstance(cell, Footprint):
        scale = 1 if cell.model == "dit" else 0.4
        sizes = {"parameters": int(675e6 * scale), "peak_bytes": int(2**34 * scale), "activations_bytes": 2**33}
        return {
            "metrics": sizes
            | dict.fromkeys(("parameters_bytes", "gradients_bytes", "optimizer_bytes", "ema_bytes"), 2**30)
            | {"peak_gradients_bytes": 2**29}
        }
    if isinstance(cell, Speed):
        return speed(cell)
    if isinstance(cell, Floor):
        return {"metrics": {"fid": 0.3125, "kid": 0.001, "kid_subset_std": 0.001} | SHARES}
    cost = {"block_passes": cell.block_passes, "comparable": True}
    if cell.measure == "images":
        config = cell.run.config
        shape = (cell.protocol.samples, config.in_channels, config.input_size, config.input_size)
        images = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        store.write_images(cell, images)
        return {"cost": cost, "samples_digest": sha256(images.tobytes()).hexdigest()}
    if cell.measure == "convergence":
        return {"cost": cost, "series": {"residuals": residuals_of(cell)}}
    older = cell.run.dataset == "digits"
    return {
        "cost": cost,
        "metrics": {"fid": fid(cell), "kid": 0.01, "kid_subset_std": 0.001} | ({} if older else SHARES),
        "timing": {"images_per_s": 10.0, "latency_s": 0.1, "threads": 1, "workers": 2}
        | ({} if older else {"host_peak_gib": 1.0 + cell.iterations / 100}),
    }


def calibrate(store, hardware="abacus", suite="digits", **changes):
    """Write a calibration: DiT's step 28 ms, an FPDM's 4 ms and 2 ms an iteration, a block 1 ms."""
    prices = {"dit_step_s": 0.028, "fpdm_step_s": 0.004, "iteration_s": 0.002, "block_s": 0.001} | changes
    cell = calibration(get_suite(suite))
    store.write(Record(cell.key, "done", "", cell.row(), {}, prices, environment={"hardware": hardware}))


def make_records(
    results,
    grid="smoothing",
    skip=lambda cell: False,
    seeds=(0, 1, 2),
    hardware="abacus",
    fid=fid_of,
    account="blocks",
    calibrated=False,
    suite="digits",
    budgets=None,
    **inputs,
):
    """Write a record for every cell of a suite's grid but those that `skip`; returns the evidence."""
    store = Store(results, suite)
    if calibrated:
        calibrate(store, hardware, suite)
    compared = get_suite(suite, own=read_own(results, suite))
    selection = resolved(Selection(seeds=seeds, account=account, budgets=budgets), store, compared)
    cells = get_cells(grid, compared, selection)
    for run in {cell.run for cell in cells if cell.run is not None}:
        write_json(store.training_path(run), {"digest": "d" + run.name, "status": "done", "step": 9, "elapsed_s": 9.0})
        steps = range(1, 20)
        lines = [f'{{"step": {s}, "elapsed_s": {s / 10}, "loss": {1 / s}}}' for s in steps]
        store.metrics_log_path(run).write_text("\n".join(lines) + "\n")
    for cell in cells:
        if skip(cell):
            continue
        made_from = {} if cell.run is None else {"checkpoint": "d" + cell.run.name, "reference": "r", "extractor": "e"}
        spec = {} if cell.run is None else {"protocol": cell.protocol.identity()}
        store.write(
            Record(
                key=cell.key,
                status="done",
                reason="",
                cell=cell.row() | spec,
                inputs=made_from | inputs,
                environment={"hardware": hardware},
                **measured(cell, store, fid),
            )
        )
    return Evidence(suite, grid, cells, store, "command", selection=selection, sized=compared)


@pytest.fixture(scope="session")
def write_records():
    """The function `make_records`, for test modules."""
    return make_records


@pytest.fixture
def unsaved_figures(monkeypatch):
    """Figures are laid out, but not written: for tests of tables."""

    def lay_out(figure, path):
        figure.draw_without_rendering()
        plt.close(figure)
        return []

    monkeypatch.setattr("paper_figures.style.save", lay_out)
