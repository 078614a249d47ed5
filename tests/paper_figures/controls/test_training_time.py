"""Training time: FD, paired ratios and the order of contenders at each length, from made-up records."""

import pytest
from made_up import SEEDS, shown
from matplotlib.colors import to_hex

from paper_figures.controls import training_time

NOISE = (0.98, 1.0, 1.02)


def crossing(cell):
    """FPDM starts behind DiT and ends ahead; DiT-3 leads throughout; DiT-7 is last. Longer is better for FPDM alone."""
    level = {"dit": 2.0, "dit-3": 0.5, "dit-7": 8.0, "fpdm": 2.0 * (cell.run.recipe.seconds / 75) ** -0.5}[cell.model]
    return level * NOISE[cell.seed] * (1 if cell.model != "fpdm" or cell.iterations == 5 else 1.5)


@pytest.fixture(scope="module")
def evidence(write_records, tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("time"), "training-time", seeds=SEEDS, fid=crossing)


def test_a_row_has_fd_and_the_paired_ratio_to_the_baseline_of_the_same_length(evidence, capsys):
    table = shown(training_time, evidence)["training_time"].set_index(["training (s)", "contender"])
    assert [*dict.fromkeys(length for length, _ in table.index)] == ["25", "50", "100", "200", "400"]
    assert table.chosen["100"].to_dict() == {
        "DiT": "10 steps",
        "FPDM": "5 x 40",
        "DiT-3": "93 steps",
        "DiT-7": "40 steps",
    }
    assert [table["FD / DiT"][length, "FPDM"] for length in ("25", "400")] == [
        "1.73 (1.73 to 1.73, p = 0.25), worse", "0.43 (0.43 to 0.43, p = 0.25), better"
    ]  # fmt: skip
    assert table["FD / DiT"]["400", "DiT"] == ""
    assert table["training steps"].unique().tolist() == ["9"]
    text = evidence.path("tables", "training_time.md").read_text()
    assert "25 to 400 s of training each" in text


def test_it_says_whether_the_order_changes_and_for_which_pairs_the_intervals_show_it(evidence, write_records, tmp_path):
    said = training_time.order(evidence, training_time.summary(evidence))
    assert said == (
        "The order of mean FDs, best first, changes with training: 25 s to 50 s: DiT-3, DiT, FPDM, DiT-7; "
        "100 s to 400 s: DiT-3, FPDM, DiT, DiT-7. The intervals show that the order changes between DiT and FPDM."
    )
    still = write_records(
        tmp_path, "training-time", seeds=(0, 1), fid=lambda cell: {"dit": 4.0, "fpdm": 3.0}.get(cell.model, 2.0)
    )
    assert training_time.order(still, training_time.summary(still)) == (
        "The order of mean FDs is the same at every length of training: DiT-3, DiT-7, FPDM, DiT. The intervals show "
        "no pair of contenders of which one is better at one length and the other at another."
    )


def test_one_replicate_does_not_tell(tmp_path, write_records):
    """And a contender that lacks a length has no place in the order."""
    evidence = write_records(
        tmp_path,
        "training-time",
        seeds=(1,),
        fid=crossing,
        skip=lambda cell: cell.run and cell.model == "dit-7" and cell.run.recipe.seconds == 400,
    )
    said = training_time.order(evidence, training_time.summary(evidence))
    assert "25 s to 50 s: DiT-3, DiT, FPDM; 100 s to 400 s: DiT-3, FPDM, DiT." in said
    assert said.endswith("One replicate does not tell an order from noise.")


def test_lengths_with_one_replicate_are_named(tmp_path, write_records):
    evidence = write_records(
        tmp_path,
        "training-time",
        seeds=SEEDS,
        fid=crossing,
        skip=lambda cell: cell.seed > 0 and cell.run.recipe.seconds != 100,
    )
    training_time.draw(evidence)
    text = evidence.path("tables", "training_time.md").read_text()
    assert (
        "One replicate only, so no interval and a schedule chosen on its own samples: 25 s, 50 s, 200 s, 400 s." in text
    )
    assert "A change of order needs several replicates at two lengths or more to be told from noise." in text
    assert "The intervals show" not in text


def test_the_figure_has_a_line_a_contender(evidence, monkeypatch):
    drawn = []
    monkeypatch.setattr(training_time.style, "save", lambda figure, path: drawn.append(figure) or [])
    training_time.draw(evidence)
    (axis,) = drawn[0].axes
    assert [text.get_text() for text in axis.get_xticklabels()] == ["25", "50", "100", "200", "400"]
    colors = {one.name: one.color for one in evidence.contenders}
    lines = [line for line in axis.lines if line.get_marker() == "s"]
    (line,) = [line for line in lines if to_hex(line.get_color()).upper() == colors["fpdm"]]
    assert line.get_ydata() == pytest.approx([2 * (seconds / 75) ** -0.5 for seconds in (25, 50, 100, 200, 400)])


def test_a_single_length_is_no_table(tmp_path, write_records):
    """Other grids have the cells of the suite's own length."""
    evidence = write_records(
        tmp_path, "training-time", seeds=(0, 1), fid=crossing, skip=lambda c: c.run and c.run.recipe.seconds != 100
    )
    assert training_time.draw(evidence) == []
