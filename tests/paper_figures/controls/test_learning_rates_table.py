"""Learning rates: which one is chosen by the rule, and what the check cost. Made-up records."""

import math

import pytest
from made_up import shown

from paper_figures.controls import learning_rates

FDS = {"dit": {0.5: 3.0, 1: 2.4, 2: 2.0}, "fpdm": {0.5: 1.0, 1: 2.0, 2: 4.0}}  # x 2 is better by 1.2, x 0.5 by 2


def fid(cell):
    fd = FDS.get(cell.model, FDS["dit"])[cell.run.recipe.learning_rate / 2e-3]
    return fd * (1.1 if cell.iterations == 2 else 1)


@pytest.mark.parametrize(
    ("lowest", "chosen"),
    [
        ({0.5: 1.0, 1: 1.24, 2: 3.0}, 1),
        ({0.5: 1.0, 1: 1.26, 2: 3.0}, 0.5),
        ({0.5: 1.0, 1: 2.0, 2: 0.9}, 2),
        ({0.5: 1.0, 1: math.inf, 2: 2.0}, 0.5),
        ({0.5: math.inf, 1: math.inf, 2: math.inf}, 1),
    ],
)
def test_the_suites_rate_stays_unless_another_is_clearly_better(lowest, chosen):
    assert learning_rates.choose(lowest, own=1) == chosen


def test_a_row_has_each_schedules_fd_and_whether_the_rate_is_chosen(tmp_path, write_records):
    """Looped has a cell without a record: nothing is chosen for it yet."""
    lacks = ("looped", 5, 4e-3)
    evidence = write_records(
        tmp_path,
        "learning-rates",
        fid=fid,
        skip=lambda cell: cell.run and (cell.model, cell.iterations, cell.run.recipe.learning_rate) == lacks,
    )
    table = shown(learning_rates, evidence)["learning_rates"].set_index(["contender", "of the suite's"])
    assert table.chosen[table.chosen != ""].index.tolist() == [("DiT", "x 1"), ("FPDM", "x 0.5")]
    assert table["learning rate"]["FPDM"].tolist() == ["0.001", "0.002", "0.004"]
    assert table.loc[("FPDM", "x 2")].tolist() == ["0.004", "4.400", "4.000", "4.000", ""]
    assert table.loc[("DiT", "x 2")].tolist() == ["0.004", "", "", "2.000", ""]
    assert table.loc[("Looped", "x 2"), ["FD, 2 iterations", "FD, 5 iterations"]].tolist() == ["2.200", ""]
    text = evidence.path("tables", "learning_rates.md").read_text()
    assert "The check cost 9 trainings, 81 s in all, and 14 cells." in text
    assert "by a factor of more than 1.25" in text
