"""Speed from made-up records: ratios round by round, the floor, and models of what a sampling run costs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up import DRIFT, diverge, rewrite, shown, speed

from bench.spec.measurements import Speed
from bench.spec.suites import get_suite
from models.diffusion.allocation import affordable_steps
from models.families import forward_macs
from paper_figures import make_all
from paper_figures.beyond import accelerator as extra_accelerator
from paper_figures.beyond import cost_model as extra_cost_model
from paper_figures.beyond import throughput as extra_throughput
from paper_figures.evidence import speed_ratios as sr

DIGITS = get_suite("digits")
RUN = {one.name: sr.run_over_parts(one) for one in DIGITS.contenders}


def timed(evidence, run_ms):
    """The evidence with other sampling runs."""
    for cell in evidence.cells:
        evidence = rewrite(evidence, lambda c, cell=cell: c is cell, series=speed(cell, run_ms)["series"])
    return evidence


def schedule(cell, model, budget, k):
    """Passes, injections, steps, GMACs of the batch."""
    config, passes = (cell.configs[model], 28 if model == "dit" else k + 2)
    steps = affordable_steps(budget, passes)
    return steps * passes, steps * k, steps, steps * forward_macs(config, k) * cell.batch_size / 1e9


def test_ratios_are_of_one_round_so_that_drift_is_in_none(tmp_path, write_records):
    """Twice as slow in one round, and every ratio is the same in all."""
    found = sr.ratios(write_records(tmp_path, "throughput"))
    assert found.groupby("size", sort=False).size().to_dict() == {"digits": 12, "XL/2": 12}
    rows = found[found["size"] == "digits"].set_index("ratio")
    expected = {
        sr.BLOCK: 1.25,
        sr.BARE: 1.25 / 0.9,
        sr.STACK: 0.875,
        RUN["fpdm"]: 1.2,
        RUN["dit"]: 1,
        sr.training_ratio(DIGITS): 1 / 3,
    }
    assert rows["median"].to_dict() == pytest.approx(expected | dict.fromkeys(sr.quotients(DIGITS, compiled=True), 0.5))
    assert (rows.high - rows.low).max() < 1e-12
    assert rows.run[RUN["fpdm"]] == "280 passes, k = 2"
    assert rows.aim.dropna().to_dict() == {sr.BLOCK: 1.3, sr.STACK: 1.0, RUN["fpdm"]: 1.1, RUN["dit"]: 1.1}
    assert rows.rounds_within.dropna().to_dict() == {sr.BLOCK: 5, sr.STACK: 5, RUN["fpdm"]: 0, RUN["dit"]: 5}
    assert rows.macs_ratio[sr.BARE] == pytest.approx(1 + 4 / (12 + 2 * 16 / 64))  # 16 tokens of width 64
    assert set(rows.compile_s.dropna()) == {12.0}


def test_the_spread_is_of_the_rounds_ratios_and_the_median_is_not_of_medians(tmp_path, write_records):
    evidence = write_records(tmp_path, "throughput")
    block, iteration = [1.0, 2.0, 3.0, 4.0, 5.0], [1.2, 2.8, 3.3, 6.0, 5.5]

    def series(record):
        return {"seconds": record.series["seconds"] | {"block": block, "iteration": iteration}}

    evidence = rewrite(evidence, lambda cell: cell.size == "digits" and not cell.compiled, series=series)
    row = sr.ratios(evidence).set_index(["size", "ratio"]).loc["digits", sr.BLOCK]
    assert row[["median", "low", "high"]].tolist() == pytest.approx([1.2, 1.1, 1.5])  # not 3.3 / 3
    assert (row.rounds_within, row.rounds) == (3, 5)
    table = shown(extra_throughput, evidence)["speed"].set_index(["size", "ratio"])
    assert table.loc[("digits", sr.BLOCK)].tolist()[1:4] == ["1.200 (1.100 to 1.500)", "1.30", "yes, 3 of 5"]
    assert sum(name.startswith(f"{RUN['dit']} (") for _, name in table.index) == 2  # names its run


def test_runs_against_the_floor(tmp_path, write_records):
    evidence = write_records(tmp_path, "throughput")
    table = sr.runs(evidence)
    assert table.groupby("size", sort=False).size().to_dict() == {"digits": 18, "XL/2": 6}
    row = table.set_index(["size", "model", "iterations", "budget"]).loc["digits", "fpdm", 5, 280]
    assert (row.steps, row.block_passes, row.injections) == (40, 280, 200)
    seconds = 40 * (2.5 + 5 * 1.25) / 1e3 * np.median(DRIFT)
    assert row.seconds_median == pytest.approx(seconds)
    assert (row.seconds_low, row.seconds_high) == pytest.approx((seconds * 0.8 / 1.1, seconds * 2 / 1.1))
    assert row.images_per_s == pytest.approx(125 / seconds)
    assert row.floor_images_per_s == pytest.approx(1e9 / (40 * forward_macs(DIGITS.subject.config, 5)))
    assert row.of_floor == pytest.approx(125 / seconds * 40 * forward_macs(DIGITS.subject.config, 5) / 1e9)
    assert row.excess_median == pytest.approx(1)
    shown_row = shown(extra_throughput, evidence)["throughput"].set_index(["size", "k", "budget (passes)"])
    assert shown_row.loc[("XL/2", "5", "140"), "s / batch"] == "0.193 (0.140 to 0.350)"


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("block passes", {"block_passes": 3.0}),
        ("MACs", {"gmacs": 7.0}),
        ("passes + injections", {"block_passes": 3.0, "injections": 1.0}),
        ("passes + injections + steps", {"block_passes": 3.0, "injections": 1.0, "steps": 2.0}),
    ],
)
def test_a_model_is_recovered_where_it_is_true(name, constants, tmp_path, write_records):
    def run_ms(cell, *run):
        return sum(
            constants.get(q, 0) * x
            for q, x in zip(("block_passes", "injections", "steps", "gmacs"), schedule(cell, *run), strict=True)
        )

    table = extra_cost_model.summary(timed(write_records(tmp_path, "throughput"), run_ms)).set_index(["size", "model"])
    row = table.loc["digits", name]
    scaled = {q: value * np.median(DRIFT) for q, value in constants.items()}
    assert row[list(constants)].to_dict() == pytest.approx(scaled)
    assert row.r2 == pytest.approx(1)
    assert abs(row.largest_residual) < 1e-9
    if name != "block passes":  # else every run takes the same a pass: there is nothing to explain
        assert row.r2_a_pass == pytest.approx(1)
        assert table.loc[("digits", "block passes"), "r2_a_pass"] < 0.05
    assert set(table.loc["XL/2"].index) == set(extra_cost_model.MODELS) - {"passes + injections + steps"}  # one k


def test_r2_residuals_and_a_coefficient_that_would_be_negative():
    """Relative errors of a fit to seconds 1 and 3 at a pass each weigh (1, 1/3): a = (1 + 1/3) / (1 + 1/9) = 1.2."""
    table = pd.DataFrame({"seconds_median": [1.0, 3.0], "block_passes": [1, 1]})
    one = extra_cost_model.fit(table, ("block_passes",))
    assert one.constants == pytest.approx({"block_passes": 1200})
    assert one.residuals.tolist() == pytest.approx([0.2, -0.6])
    assert one.r2 == one.r2_a_pass == pytest.approx(1 - (0.2**2 + 1.8**2) / 2)
    falling = pd.DataFrame({"seconds_median": [3.0, 2.5, 2.0], "block_passes": [1, 1, 1], "injections": [0, 1, 2]})
    assert extra_cost_model.fit(falling, ("block_passes", "injections")).constants["injections"] == 0
    together = falling.assign(injections=2)
    assert extra_cost_model.fit(together, ("block_passes", "injections")) is None
    assert (
        extra_cost_model.fit(table.assign(injections=[0, 1]), ("block_passes", "injections")) is None
    )  # no run to spare


FILES = {
    extra_throughput: {"speed", "throughput"},
    extra_cost_model: {"cost_model"},
    extra_accelerator: {"speed_accelerator", "throughput_accelerator"},
}


@pytest.mark.parametrize("module", FILES, ids=lambda module: module.__name__.split(".")[-1])
def test_one_record_draws_what_it_can_and_alike_again(module, tmp_path, write_records):
    cells = write_records(tmp_path / "all", module.GRID).cells
    for i, kept in enumerate([*cells, None]):
        evidence = write_records(tmp_path / str(i), module.GRID, skip=lambda cell, kept=kept: cell != kept)
        paths = module.draw(evidence)
        if kept is None or (kept.compiled and module is extra_cost_model):
            assert paths == []
            continue
        names = {name for name in FILES[module] if not (kept.compiled and name.startswith("throughput"))}
        assert {path.stem for path in paths} == names
        assert (".png" in {path.suffix for path in paths}) is not kept.compiled
        first = {path: path.read_bytes() for path in paths}
        if kept == cells[0]:
            assert {path: path.read_bytes() for path in module.draw(evidence)} == first
        assert f"{len(cells) - 1} of {len(cells)} cells have no result yet" in paths[1].read_text()
        assert not module.table_text(evidence).count("nan")


def test_a_failed_cell_is_absent_and_its_parts_are_in_no_table(tmp_path, write_records):
    evidence = rewrite(
        write_records(tmp_path, "throughput"),
        lambda cell: cell.size == "XL/2",
        status="oom",
        reason="too large",
        series={},
    )
    assert (
        sorted(evidence.absent.values())[0] == "speed of XL/2 twins, batch 1, fp32, eager and compiled: oom, too large"
    )
    assert set(sr.ratios(evidence)["size"]) == set(sr.runs(evidence)["size"]) == {"digits"}
    partial = rewrite(evidence, lambda cell: True, series={"seconds": {"block": [1.0]}})
    assert extra_throughput.draw(partial) == []


def test_precisions_have_rows_and_a_gpu_no_threads(tmp_path, write_records):
    evidence = write_records(tmp_path, "accelerator", hardware="big GPU")
    evidence = rewrite(evidence, lambda cell: True, environment={"hardware": "big GPU", "device": "cuda"})
    table = shown(extra_accelerator, evidence)["speed_accelerator"]
    assert table[table.ratio == sr.BLOCK].precision.tolist() == ["fp32", "bf16", "fp16"]
    assert "batch" not in table
    text = evidence.path("tables", "speed_accelerator.md").read_text()
    assert text.rstrip().endswith("XL/2, batch 64, fp16: big GPU.")


def test_make_all_draws_the_accelerator_if_there_are_records_and_else_is_silent(tmp_path, write_records, capsys):
    write_records(tmp_path, "throughput")
    arguments = ["--results", str(tmp_path)]
    assert make_all.main(arguments) == 0
    out = capsys.readouterr().out
    assert "accelerator" not in out
    assert "throughput: " not in out
    assert f"{extra_throughput.TITLE}: " in out
    assert make_all.main([*arguments, "--grid", "accelerator"]) == 0
    assert "accelerator: 6 of 6 cells missing" in capsys.readouterr().out
    write_records(tmp_path, "accelerator")
    assert make_all.main(arguments) == 0
    assert f"{extra_accelerator.TITLE}: " in capsys.readouterr().out


def test_divergence_elsewhere_leaves_speed_alone(tmp_path, write_records):
    evidence = diverge(replace(write_records(tmp_path, "throughput")))
    assert all(isinstance(cell, Speed) for cell in evidence.cells)
    assert len(sr.ratios(evidence)) == 24
