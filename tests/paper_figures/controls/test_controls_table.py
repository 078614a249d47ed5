"""Controls: who is compared with whom, chosen on which replicates, paired how. Made-up records at 280 block passes."""

import pytest
from made_up import SEEDS, shown

from models.families import parameters
from paper_figures.controls import contenders as controls

BEST = {"fpdm": (5, 1.0), "looped": (3, 1.0), "dit-cached": (4, 1.0), "fpdm-tied": (2, 0.5)}  # iterations, reuse mix
LEVELS = {"dit": 4.0, "fpdm": 2.0, "dit-3": 5.0, "dit-7": 6.0, "dit-14": 7.0, "looped": 8.0, "dit-cached": 3.0}
LUCK = {"dit-3": (1.0, 1.0, 1.2), "dit-7": (3.0, 3.0, 0.9)}  # dit-7 is better in the last replicate alone


def fid(cell):
    """DDPM: replicates differ by factors, all contenders alike. DDIM: they do not, but shallow DiTs have luck."""
    level = LEVELS.get(cell.model, 1.8)
    if cell.model in BEST and (cell.iterations, cell.config.reuse_mix) != BEST[cell.model]:
        level *= 2
    if cell.model == "dit-cached" and cell.n_pre == 4:
        level *= 1.5
    if cell.sampler == "ddpm":
        return level * (1 + cell.seed)
    return LUCK[cell.model][cell.seed] if cell.model in LUCK else level * (3 if cell.model == "fpdm-tied" else 1)


@pytest.fixture(scope="module")
def evidence(write_records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    return write_records(folder, "controls", seeds=SEEDS, fid=fid, budgets=(280,))


@pytest.fixture(scope="module")
def tables(evidence):
    return shown(controls, evidence)


def of(tables, sampler):
    table = tables["controls"]
    return table[table.sampler == sampler].set_index("contender")


def test_a_row_has_how_many_schedules_there_were_and_the_one_that_is_chosen(tables):
    table = of(tables, "DDPM")
    assert table.schedules.to_dict() == {
        "DiT": "1", "FPDM": "4", "DiT-3": "1", "DiT-7": "1", "DiT-14": "1", "Looped": "4", "DiT, cached": "4",
        "FPDM, mixed": "6", "best shallow DiT": "3", "strongest control": "11",
    }  # fmt: skip
    assert table.chosen[["DiT", "FPDM", "Looped", "FPDM, mixed"]].tolist() == [
        "10 steps", "5 x 40", "3 x 56", "2 x 70, g = 0.5"
    ]  # fmt: skip
    assert table.chosen["best shallow DiT"] == "DiT-3: 93 steps"
    assert table.chosen["DiT, cached"] == "32 steps, full every 4, j = 1"
    assert table.chosen["strongest control"] == "DiT, cached: 32 steps, full every 4, j = 1"


def test_ratios_are_paired(tables):
    """FD 4, 8, 12 and 2, 4, 6: the ratio is known, although the two sides' own intervals overlap."""
    table = of(tables, "DDPM")
    assert table.FD["DiT"].startswith("8.000 ± 9.9")
    assert table["FD / DiT"].to_dict() == {
        "DiT": "",
        "FPDM": "0.50 (0.50 to 0.50, p = 0.25), better",
        "DiT-3": "1.25 (1.25 to 1.25, p = 0.25), worse",
        "DiT-7": "1.50 (1.50 to 1.50, p = 0.25), worse",
        "DiT-14": "1.75 (1.75 to 1.75, p = 0.25), worse",
        "Looped": "2.00 (2.00 to 2.00, p = 0.25), worse",
        "DiT, cached": "0.75 (0.75 to 0.75, p = 0.25), better",
        "FPDM, mixed": "0.45 (0.45 to 0.45, p = 0.25), better",
        "best shallow DiT": "1.25 (1.25 to 1.25, p = 0.25), worse",
        "strongest control": "0.75 (0.75 to 0.75, p = 0.25), better",
    }
    assert table["FD / best FPDM"]["FPDM, mixed"] == "0.90 (0.90 to 0.90, p = 0.25), better"
    assert table["FD / best FPDM"]["strongest control"] == "1.50 (1.50 to 1.50, p = 0.25), worse"
    assert table["FD / best FPDM"]["FPDM"] == ""


def test_the_strongest_control_is_chosen_on_the_replicates_that_do_not_score(evidence, tables):
    """DiT-7's 0.9 in replicate 2 does not count: there the others choose DiT-3, with 1.2."""
    found = controls.strongest(evidence).set_index("sampler").loc["ddim"]
    assert found.control == "DiT-3"
    assert found.control_fd == pytest.approx((1 + 1 + 1.2) / 3)
    assert of(tables, "DDIM").FD["best shallow DiT"] == of(tables, "DDIM").FD["strongest control"]
    assert found.ratio_to_control == pytest.approx((2 * 2 * 2 / 1.2) ** (1 / 3))


def test_verdicts_say_what_the_ratios_do(tables):
    """FPDM, mixed, is better than all others with DDPM, but is no control: it is of FPDM's family."""
    table = tables["controls_best"].set_index("sampler")
    assert table.index.tolist() == ["DDPM", "DDIM"]
    assert table["strongest control"].tolist() == ["DiT, cached", "DiT-3"]
    assert table.loc["DDPM", "FPDM / strongest control"] == "0.67 (0.67 to 0.67, p = 0.25)"
    assert table.loc["DDIM", "FPDM / DiT"] == "0.50 (0.50 to 0.50, p = 0.25)"
    assert table.loc["DDIM", "FPDM / strongest control"] == "1.88 (1.45 to 2.44, p = 0.25)"
    assert table.verdict.tolist() == [
        "FPDM is better than DiT, better than the strongest control",
        "FPDM is better than DiT, worse than the strongest control",
    ]


def test_training_is_shown_of_those_that_are_trained(evidence, tables):
    table = tables["controls_training"].set_index("contender")
    assert table["weights of"][table["weights of"] != ""].to_dict() == {"DiT, cached": "DiT", "FPDM, mixed": "FPDM"}
    assert table["training steps"].tolist() == ["9"] * 6 + [""] * 2
    assert table.trainings.tolist() == ["3"] * 6 + [""] * 2
    sizes = {one.label: f"{parameters(one.config) / 1e6:.4g}" for one in evidence.contenders}
    assert table["parameters (M)"].to_dict() == sizes
    assert float(sizes["DiT-3"]) < float(sizes["FPDM"]) < float(sizes["DiT-7"])
    assert table.blocks["DiT, cached"] == "28 blocks, 2 at cached steps or 28 blocks, 8 at cached steps"


def test_one_replicate_and_missing_controls_are_said(tmp_path, write_records):
    def skip(cell):
        return cell.run and cell.model in (*LUCK, "dit")

    evidence = write_records(tmp_path, "controls", seeds=(0,), fid=fid, budgets=(280,), skip=skip)
    tables = shown(controls, evidence)
    assert tables["controls_best"].verdict.tolist() == ["incomplete"] * 2
    assert "DiT-3" not in of(tables, "DDPM").index
    assert of(tables, "DDPM")["FD / DiT"].unique().tolist() == [""]
    text = evidence.path("tables", "controls.md").read_text()
    assert "on the very samples that score it, for want of a second replicate" in text
    assert "digits: 6 of 45 cells have no result yet." in text


def test_other_accounts_are_named(tmp_path, write_records):
    evidence = write_records(tmp_path, "controls", seeds=(0,), fid=fid, budgets=(280,), account="macs")
    tables = shown(controls, evidence)
    assert "DiT passes" in tables["controls"]
    assert of(tables, "DDPM").chosen["FPDM"] == "5 x 32"  # 40 at equal block passes
    assert "in MACs" in evidence.path("tables", "controls_best.md").read_text()
    assert tables["controls_best"].verdict.tolist() == ["one replicate, no verdict"] * 2
