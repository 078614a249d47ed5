"""Iterations at equal timesteps: FD with several iterations over FD with one, at the same steps. Made-up records."""

import re

import pytest
from made_up import SEEDS, diverge, shown

from paper_figures.controls import equal_timesteps

MANY = {2: 2.0, 3: 6.0, 5: 5.0}  # FD with k iterations at 280 passes: 70, 56 and 40 steps
ONCE = {70: 4.0, 56: 4.0, 40: 25.0}  # FD with one iteration, by steps
REPLICATES = (1.0, 3.0, 10.0)  # factors of both sides: their own intervals overlap, their ratios do not differ
DDIM = (1.0, 1.0, 8.0)  # factors with one iteration and DDIM: a ratio that is not known
LABEL = "FD / with one"


def fid(cell):
    if cell.iterations > 1:
        return MANY[cell.iterations] * REPLICATES[cell.seed]
    return ONCE[cell.steps] * REPLICATES[cell.seed] * (DDIM[cell.seed] if cell.sampler == "ddim" else 1.0)


@pytest.fixture
def evidence(tmp_path, write_records):
    return write_records(tmp_path, "equal-timesteps", seeds=SEEDS, fid=fid)


def of(evidence, sampler):
    table = shown(equal_timesteps, evidence)["equal_timesteps"]
    return table[table.sampler == sampler].set_index("iterations")


def test_a_row_sets_several_iterations_against_one_at_the_same_steps(evidence):
    table = of(evidence, "DDPM")
    assert table.index.tolist() == ["2", "3", "5"]
    assert table.steps.tolist() == ["70", "56", "40"]
    assert table["block passes"].tolist() == ["280"] * 3
    assert table["with one: block passes"].tolist() == ["210", "168", "120"]
    assert table.FD.tolist() == ["9.333 ± 23.479", "28.000 ± 70.437", "23.333 ± 58.698"]
    assert table["with one: FD"].tolist() == ["18.667 ± 46.958", "18.667 ± 46.958", "116.667 ± 293.489"]


def without_p(texts):
    return [re.sub(r", p = [\d.]+", "", text) for text in texts]


def test_ratios_pair_replicates(evidence):
    """The weights are the same: overlapping intervals of the two sides say nothing."""
    assert without_p(of(evidence, "DDPM")[LABEL]) == [
        "0.50 (0.50 to 0.50), better", "1.50 (1.50 to 1.50), worse", "0.20 (0.20 to 0.20), better"
    ]  # fmt: skip
    assert without_p(of(evidence, "DDIM")[LABEL]) == [
        "0.25 (0.01 to 4.93), inconclusive", "0.75 (0.04 to 14.80), inconclusive", "0.10 (0.01 to 1.97), inconclusive"
    ]  # fmt: skip


def test_only_replicates_of_both_sides_make_a_ratio(tmp_path, write_records):
    """With DDIM, the replicate that differs lacks one iteration; with DDPM, no replicate has both at 40 steps."""

    def skip(cell):
        if cell.measure == "floor":
            return False
        if cell.sampler == "ddim":
            return cell.seed == 2 and cell.iterations == 1
        return cell.steps == 40 and (cell.seed == 0) == (cell.iterations == 1)

    evidence = write_records(tmp_path, "equal-timesteps", seeds=SEEDS, fid=fid, skip=skip)
    table = of(evidence, "DDIM")
    assert without_p(table[LABEL]) == [
        "0.50 (0.50 to 0.50), better", "1.50 (1.50 to 1.50), worse", "0.20 (0.20 to 0.20), better"
    ]  # fmt: skip
    assert table["with one: FD"]["2"].startswith("8.000 ± ")
    table = of(evidence, "DDPM")
    assert table[LABEL]["5"] == ""
    assert table["with one: FD"]["5"].startswith("162.500 ± ")
    assert table[LABEL]["2"].startswith("0.50 (0.50 to 0.50, p = ")


def test_without_one_iteration_there_is_no_ratio(tmp_path, write_records):
    evidence = write_records(
        tmp_path, "equal-timesteps", seeds=SEEDS, fid=fid, skip=lambda cell: cell.run and cell.iterations == 1
    )
    table = of(evidence, "DDPM")
    assert table[["with one: block passes", "with one: FD", LABEL]].to_numpy().tolist() == [[""] * 3] * 3


def test_a_diverged_side_is_said(evidence):
    table = of(diverge(evidence, lambda cell: cell.iterations == 1 and cell.steps == 56), "DDPM")
    assert table.loc["3", ["with one: FD", LABEL]].tolist() == ["diverged", "the other diverged"]
    assert table[LABEL]["2"].startswith("0.50 (0.50 to 0.50, p = ")


def test_without_records_there_is_no_table(tmp_path, write_records):
    assert equal_timesteps.draw(write_records(tmp_path, "equal-timesteps", skip=lambda cell: True)) == []
