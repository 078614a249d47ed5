"""Figure 7: how networks with different numbers of pre/post layers are compared."""

import math

import numpy as np
import pytest
from made_up import diverge

from paper_figures.figures import fig7_prepost


def planted(cell):
    """5 iterations are best on average, and in the other replicates of 0 and 1; in those of 2 it is 2."""
    if cell.n_pre == 1:
        return {2: (1.0, 20.0, 20.0), 5: (9.0, 8.0, 10.0)}[cell.iterations][cell.seed]
    return 10.0 * cell.n_pre + cell.iterations


def test_pre_post_layers_are_compared_at_the_iterations_that_the_other_replicates_choose(write_records, tmp_path):
    """Geometric means of the others: without 0: 20 and 8.9; without 1: 4.5 and 9.5; without 2: 4.5 and 8.5."""
    evidence = write_records(tmp_path, grid="prepost", seeds=(0, 1, 2), fid=planted)
    rows = fig7_prepost.by_layers(evidence).set_index(["n_pre", "budget"])
    assert set(rows.index) == {(n, budget) for n in (0, 1, 2, 4) for budget in (140, 280, 560)}
    values = np.array([9.0, 20.0, 20.0])  # on its own samples replicate 0 would choose 1.0
    one = rows.loc[(1, 280)]
    assert one.fd == pytest.approx(values.mean())
    assert one.fd_half == pytest.approx(4.302653 * values.std(ddof=1) / math.sqrt(3), rel=1e-5)
    lent = np.log([1.0, 20.0, 20.0]).var(ddof=1)  # trained once: the twin's spread, the larger of its two schedules
    assert tuple(rows.loc[(4, 560)]) == pytest.approx((42.0, 4.302653 * 42.0 * math.sqrt(lent)))
    assert fig7_prepost._training(evidence.frame).endswith("0, 2, 4 layers.")


def test_a_diverged_network_is_named_below_figure_7(evidence_of, write_records, tmp_path, monkeypatch):
    evidence = write_records(tmp_path, grid="prepost")
    evidence = diverge(evidence, lambda cell: cell.n_pre == 0 and cell.budget == 140)
    notes = []
    monkeypatch.setattr(fig7_prepost.style, "note", lambda figure, text: notes.append(text))
    assert fig7_prepost.draw(evidence)
    assert "not drawn: 0 at 140." in notes[0]


def test_replicates_without_a_schedule_in_common_have_no_figure_7_but_a_table(write_records, tmp_path):
    """What the other replicate chooses is missing in each."""
    evidence = write_records(
        tmp_path, grid="prepost", seeds=(0, 1), skip=lambda cell: (cell.seed == 0) == (cell.iterations == 2)
    )
    assert {path.name for path in fig7_prepost.draw(evidence)} == {"prepost.md", "prepost.csv", "prepost.tex"}
