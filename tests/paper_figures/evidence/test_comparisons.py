"""Seconds of trainings, which are of one machine or of none."""

import math

from bench.system.files import write_json
from paper_figures.evidence.comparisons import no_seconds, training


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
