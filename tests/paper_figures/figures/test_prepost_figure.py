"""Figure 7: how networks with different numbers of pre/post layers are compared."""

import math

import matplotlib.pyplot as plt
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
    assert set(rows.index) == {(n, budget) for n in (0, 2, 4) for budget in (140, 280, 560)}
    one = np.log([9.0, 20.0, 20.0])  # one layer; on its own samples replicate 0 would choose 1.0
    half = 4.302653 * math.sqrt(one.var(ddof=1) / 3)
    four = rows.loc[(4, 560)]
    assert four.ratio == pytest.approx(42.0 / math.exp(one.mean()))
    assert (math.log(four.ratio / four.ratio_low), math.log(four.ratio_high / four.ratio)) == pytest.approx(
        (half, half)
    )


def test_figure_7_has_the_ratios_to_one_layer_with_their_intervals(evidence_of, monkeypatch):
    drawn = []
    monkeypatch.setattr(fig7_prepost.style, "save", lambda figure, path: drawn.append(figure) or [])
    evidence = evidence_of("prepost")
    fig7_prepost.draw(evidence)
    (axis,) = drawn[0].axes
    assert axis.get_ylabel() == "FD / FD with 1 pre/post layer"
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["1 (reference)", "0", "2", "4"]
    rows = fig7_prepost.by_layers(evidence)
    for bars, (_, some) in zip(axis.containers, rows.groupby("n_pre"), strict=True):
        assert bars.lines[0].get_ydata().tolist() == pytest.approx(some.ratio.tolist())
        assert [end[1][1] for end in bars.lines[2][0].get_segments()] == pytest.approx(some.ratio_high.tolist())
    plt.close(drawn[0])


def test_a_diverged_network_is_named_below_figure_7(evidence_of, write_records, tmp_path, monkeypatch):
    evidence = write_records(tmp_path, grid="prepost")
    evidence = diverge(evidence, lambda cell: cell.n_pre == 0 and cell.budget == 140)
    notes = []
    monkeypatch.setattr(fig7_prepost.style, "note", lambda figure, text: notes.append(text))
    assert fig7_prepost.draw(evidence)
    assert "not drawn: 0 at 140." in notes[0]


def test_replicates_without_a_schedule_in_common_have_no_figure_7_but_a_table(write_records, tmp_path):
    """What the other replicate chooses is missing in each."""

    def skip(cell):
        return cell.run and (cell.seed == 0) == (cell.iterations == 2)

    evidence = write_records(tmp_path, grid="prepost", seeds=(0, 1), skip=skip)
    assert {path.name for path in fig7_prepost.draw(evidence)} == {"prepost.md", "prepost.csv", "prepost.tex"}
