"""Seconds of trainings, which are of one machine or of none; measures beside FD that disagree with it."""

import math

import pandas as pd
import pytest

from bench.system.files import write_json
from paper_figures.evidence.comparisons import disagreement, no_seconds, training
from paper_figures.evidence.intervals import ratio


def test_seconds_of_trainings_on_different_machines_are_not_averaged(tmp_path, write_records):
    evidence = write_records(tmp_path, "controls", seeds=(0, 1), budgets=(280,), skip=lambda cell: True)
    one, *others = {cell.run for cell in evidence.cells if cell.run is not None}
    summary = evidence.store.read_training(one)
    found = training(evidence, [one, *others])
    assert (found["seconds_a_step"], found["training_steps"], no_seconds(evidence)) == (1, 9, "")
    for change in ({"environment": {"hardware": "slide rule"}}, {"execution": "compiled"}, {"ranks": 2}):
        write_json(evidence.store.training_path(one), summary | change)
        found = training(evidence, others[:1])  # the others' stand beside it
        assert math.isnan(found["seconds_a_step"])
        assert found["training_steps"] == 9
        assert no_seconds(evidence) == " Trained on different machines, hence no seconds a step."


@pytest.mark.parametrize(
    ("fd", "kid", "limit", "text"),
    [
        ((1.0, 2.0), (0.1, 0.2), (0.5, 1.5), ""),
        ((1.0, 2.0), (0.2, 0.1), (0.5, 1.5), "; the opposite by KID"),
        ((2.0, 1.0), (0.1, 0.2), (0.5, 1.5), "; the opposite by FD's limit in 1/n and KID"),
        ((1.0, 2.0), (0.1, 0.1), (math.nan, 1.5), ""),  # alike, and not measured
        ((1.0, 1.0), (0.2, 0.1), (0.5, 1.5), ""),  # FD does not order them
    ],
)
def test_other_measures_that_order_two_sides_otherwise_are_named(fd, kid, limit, text):
    seeds = {"seed": [0, 1, 2]}
    sides = [
        pd.DataFrame(seeds | {"fid": [a, 1.1 * a, 0.9 * a], "kid": b, "fid_limit": c})
        for a, b, c in zip(fd, kid, limit, strict=True)
    ]
    found = ratio(*(side.set_index("seed").fid for side in sides))
    assert disagreement(found, *sides) == text
