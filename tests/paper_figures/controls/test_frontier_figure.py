"""The frontier: envelopes never rise, and budgets go to the best that costs no more. Made-up records."""

import numpy as np
import pytest
from made_up import diverge, noise

from paper_figures.controls import frontier
from paper_figures.evidence.pairing import where

LEVELS = {"fpdm": 1.0, "dit-3": 2.0, "dit-cached": 3.0}


def fid(cell):
    """FPDM is best, then DiT-3, then cached DiT; some noise between schedules."""
    return LEVELS.get(cell.model, 5.0) * noise(cell, 0.4)


@pytest.fixture(scope="module")
def evidence(write_records, tmp_path_factory):
    """Without the price of a bare block."""
    folder = tmp_path_factory.mktemp("frontier")
    return write_records(folder, "controls", seeds=(0, 1), fid=fid, budgets=(140, 280), calibrated=True)


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(frontier.style, "save", lambda figure, path: figures.append(figure) or [path])
    return figures


def test_the_envelope_is_the_best_of_what_costs_as_much_or_less(evidence):
    cells = frontier.points(evidence)
    for (_, _), own in cells.groupby(["sampler", "model"]):
        for cost in ("blocks", "macs"):
            stairs = frontier.envelope(own, cost)
            assert (np.diff(stairs.fd) < 0).all()
            assert (np.diff(stairs[cost]) > 0).all()
            for spent in own[cost]:
                assert stairs[stairs[cost] <= spent].fd.min() == own[own[cost] <= spent].fd.min()


def test_a_point_is_the_mean_over_replicates_at_what_one_image_costs(evidence):
    wanted = {"sampler": "ddim", "model": "dit-cached", "budget": 280, "iterations": 4, "n_pre": 4}
    ((_, row),) = where(frontier.points(evidence), **wanted).iterrows()
    same = [cell for cell in evidence.cells if wanted.items() <= cell.row().items()]
    assert len(same) == 2
    assert row.fd == pytest.approx(np.mean([fid(cell) for cell in same]))
    full, cached = -(-same[0].steps // 4), same[0].steps - -(-same[0].steps // 4)
    assert row.blocks == 28 * full + 8 * cached <= 280
    assert row.macs == same[0].macs
    assert row.seconds == pytest.approx((0.028 * full + 0.008 * cached) / 125)


def test_a_budget_goes_to_the_best_that_costs_no_more_in_that_currency(evidence):
    """FPDM's steps are 2 + k passes but 4 + 2 k ms: no schedule of 140 passes fits into DiT's 140 ms."""
    cells = frontier.points(evidence)
    cells = cells[cells.sampler == "ddpm"]
    assert frontier.winners(evidence, cells, "blocks") == {140: "fpdm", 280: "fpdm"}
    found = frontier.winners(evidence, cells, "seconds")
    assert [*found] == pytest.approx([0.140 / 125, 0.280 / 125])
    assert [*found.values()] == ["dit-3", "fpdm"]


def test_the_figure_has_a_panel_a_currency_and_says_whose_seconds_are_unknown(evidence, drawn):
    frontier.draw(evidence)
    (figure,) = drawn
    assert [axis.get_xlabel() for axis in figure.axes if axis.get_xlabel()] == [
        "passes / image", "MMACs / image", "ms / image"
    ]  # fmt: skip
    panels = {axis: {line.get_label() for line in axis.lines if line.get_label()[0] != "_"} for axis in figure.axes}
    by_row = [[*panels.values()][i] for i in (0, 2)]
    assert by_row[0] - by_row[1] == {"Looped"}
    note = figure.get_supxlabel().replace("\n", " ")
    assert "No seconds of Looped: not calibrated." in note
    assert "Seconds as calibrated on abacus, at batch 125." in note


def test_without_a_calibration_there_are_no_seconds(tmp_path, write_records, drawn):
    evidence = write_records(tmp_path, "controls", seeds=(0,), fid=fid, budgets=(140,))
    frontier.draw(diverge(evidence, lambda cell: cell.model == "looped" and cell.iterations == 1))
    (figure,) = drawn
    assert [axis.get_xlabel() for axis in figure.axes if axis.get_xlabel()] == ["passes / image", "MMACs / image"]
    note = figure.get_supxlabel().replace("\n", " ")
    assert "Seconds are not calibrated here." in note
    assert "Not drawn: schedules that diverged or lack a replicate." in note
    assert np.isfinite(frontier.points(evidence).fd).all()
