"""The spread of training and of sampling, of planted panels."""

import math

import numpy as np
import pandas as pd
import pytest

from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from paper_figures.evidence.noise import in_words, spreads


def panel(training, sampling, trainings=6, seeds=3, model="dit"):
    """FD whose logarithm is a part of the training plus a part of the sample; `seed` counts within a training."""
    rows = [
        (model, r, s, math.exp(training[r % len(training)] + sampling[(r + s) % len(sampling)]))
        for r in range(trainings)
        for s in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["model", "train_seed", "seed", "fid"])


def test_spreads_are_those_of_the_parts():
    """Random effects of many trainings and seeds: both deviations are found again."""
    generator = np.random.default_rng(0)
    between, within = generator.normal(0, 0.3, 2000), generator.normal(0, 0.1, (2000, 3))
    rows = [("dit", r, s, math.exp(between[r] + within[r, s])) for r in range(2000) for s in range(3)]
    (found,) = spreads(pd.DataFrame(rows, columns=["model", "train_seed", "seed", "fid"])).to_dict("records")
    assert (found["training"], found["sampling"]) == pytest.approx((0.3, 0.1), rel=0.05)
    assert (found["trainings"], found["seeds"]) == (2000, 3)


def test_samples_that_differ_as_much_as_trainings_leave_training_none():
    found = spreads(panel([0.0], [0.1, 0.0, -0.1])).iloc[0]
    assert (found.training, found.sampling) == pytest.approx((0.0, 0.1))


def test_trainings_without_all_samples_are_left_out():
    whole = panel([0.1, -0.1], [0.01, -0.01, 0.0])
    holed = whole.drop(index=0)
    assert spreads(holed).iloc[0].trainings == 5
    assert spreads(whole[whole.train_seed == 0]).empty
    assert spreads(whole.assign(fid=math.inf)).empty


def test_in_words():
    table = spreads(panel([0.2, -0.2], [0.01, -0.01, 0.0]))
    text = in_words(table, {"dit": "DiT"})
    assert text.startswith("spread of FD (6 trainings x 3 sampling seeds): DiT 2")
    assert text.endswith("1% between samples")
    assert in_words(table[:0], {}) == ""


def test_captions_have_the_spread_and_comparisons_leave_further_samples_out(tmp_path, write_records):
    suite, seeds = get_suite("digits"), (0, 1, 2)
    cells = [cell for cell in get_cells("panel", suite, Selection(seeds=seeds)) if cell.run]
    assert len({cell.run for cell in cells}) == 6
    assert len(cells) == 18
    write_records(tmp_path, "panel", seeds=seeds)
    evidence = write_records(tmp_path, "smoothing", seeds=seeds)
    assert "spread of FD (3 trainings x 3 sampling seeds): DiT " in evidence.caption
    everything = write_records(tmp_path, "all", seeds=seeds, skip=lambda cell: cell.seed in seeds)
    assert set(everything.frame.seed) <= {*seeds, 1000}  # that of the learning rates
    assert set(everything.asked.seed) == {*seeds, 1000}
