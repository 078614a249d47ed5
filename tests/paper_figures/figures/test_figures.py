import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from made_up import diverge, rewrite

from bench.spec.grids.catalogue import get_cells
from bench.spec.grids.registry import GRIDS
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.prices import resolved
from bench.store.records import Store
from bench.system.errors import BadInputError
from paper_figures import published
from paper_figures.claims import ledger as claims
from paper_figures.evidence.columns import over_seeds
from paper_figures.evidence.comparisons import twins
from paper_figures.evidence.gather import Evidence
from paper_figures.figures import fig4_smoothing, fig6a_reuse
from paper_figures.make_all import drawables, main

ABSENT = {"unroll", "gradients", "prepost", "training-time"}  # of digits: not evaluated since they were made anew
KEPT_SAMPLERS = ("ddpm", "ddim", "dpm++", "unipc")  # of clothes: others were added since
KEPT_OF_FASHION = ("smoothing", "compute", "datasets", "reuse", "allocation", "convergence", "samples", "samplers")


def kept_of_clothes(grid, suite, selection):
    """A grid's cells but for those of samplers that were added since."""
    return [one for one in get_cells(grid, suite, selection) if one.run is None or one.sampler in KEPT_SAMPLERS]


def environments(evidence):
    """Those of all records."""
    return [record.environment for record in evidence.kept.values()]


def test_summary_finds_the_best_schedule_and_sets_the_published_value_beside_it(tmp_path, write_records):
    table = twins(write_records(tmp_path, seeds=(0,)))
    assert table.budget.tolist() == [140, 280, 560]
    assert table.iterations.tolist() == [5, 5, 5]
    assert table.ratio.tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert set(table.verdict) == {"one replicate, no verdict"}
    assert table.published_ratio.tolist() == pytest.approx([85.8 / 148.0, 43.3 / 80.9, 26.1 / 37.9])


def test_replicates_are_averaged_with_their_interval(tmp_path, write_records):
    """Mean of 1, 1.5, 2, deviation 0.5: half of the interval is 4.3027 x 0.5 / sqrt(3)."""
    rows = over_seeds(write_records(tmp_path, seeds=(0, 1, 2)).frame)
    best = rows[(rows.model == "fpdm") & (rows.iterations == 5) & (rows.budget == 280)].iloc[0]
    assert (best.fd, best.seeds, best.train_seeds) == (pytest.approx(1.5), 3, 3)
    assert (best.fd_high - best.fd, best.fd - best.fd_low) == pytest.approx((1.2421, 1.2421), rel=1e-4)


@pytest.mark.parametrize(("dit", "verdict"), [(9.0, "FPDM better"), (0.1, "DiT better"), (1.45, "inconclusive")])
def test_verdicts(tmp_path, write_records, dit, verdict):
    def fid(cell):
        return dit if cell.run.model == "dit" else 1.0 + abs(cell.iterations - 5) + 0.5 * cell.seed

    table = twins(write_records(tmp_path, seeds=(0, 1, 2), fid=fid))
    assert set(table.verdict) == {verdict}
    assert table.iterations.tolist() == [5, 5, 5]


def test_a_diverged_cell_is_a_result(tmp_path, write_records):
    evidence = write_records(tmp_path)
    cell = next(c for c in evidence.cells if c.measure == "quality" and c.iterations == 5)
    evidence = diverge(evidence, lambda other: other == cell)
    assert not evidence.absent
    assert evidence.frame.set_index("key").fid[cell.key] == math.inf
    assert fig4_smoothing.draw(evidence)


def test_images_of_another_making_are_refused(tmp_path, write_records):
    evidence = write_records(tmp_path)
    (cell, images), *_ = evidence.images(model="dit")
    assert images.shape == (10, 1, 8, 8)
    evidence.store.write_images(cell, images[::-1])
    with pytest.raises(BadInputError, match="not those of their record"):
        evidence.images(model="dit")


def test_times_of_different_machines_are_not_merged(tmp_path, write_records):
    evidence = write_records(tmp_path)
    assert evidence.frame.images_per_s.eq(10).all()
    assert "abacus; 1 thread(s) a cell, 2 cell(s) side by side" in evidence.timing_caption
    other = write_records(tmp_path / "other", hardware="slide rule")
    record = other.store.read(other.cells[0])
    evidence.store.write(record)
    mixed = Evidence("digits", "smoothing", evidence.cells, evidence.store, "command")
    assert mixed.frame.images_per_s.isna().all()
    assert mixed.frame.fid.notna().all()


def test_drawing_a_part_changes_no_other_kept_file(tmp_path, write_records):
    """environment.json has the environments of all records, also where one grid's were made somewhere else."""
    evidence = write_records(tmp_path, "allocation", seeds=(0,))
    write_records(tmp_path)
    for path in (evidence.store.root / "records").iterdir():
        record = json.loads(path.read_text())
        if record["cell"]["allocation"] != "constant":
            path.write_text(json.dumps(record | {"environment": record["environment"] | {"commit": "another"}}))
    assert main(["--results", str(tmp_path)]) == 0
    kept = {path: path.read_bytes() for path in evidence.store.root.rglob("*") if path.is_file()}
    environments = json.loads((evidence.store.root / "environment.json").read_text())
    assert len({environment.get("commit") for environment in environments}) == 2
    for grid in ("smoothing", "allocation"):
        assert main(["--results", str(tmp_path), "--grid", grid]) == 0
    assert {path: path.read_bytes() for path in evidence.store.root.rglob("*") if path.is_file()} == kept


def test_other_selections_are_drawn_beside_the_default_one(tmp_path, write_records):
    evidence = write_records(tmp_path)
    main(["--results", str(tmp_path)])
    default = evidence.path("figures", "fig4_smoothing.png").read_bytes()
    main(["--results", str(tmp_path), "--budget", "280"])
    assert evidence.path("figures", "fig4_smoothing.png").read_bytes() == default
    assert (tmp_path / "digits/parts/budget-280/figures/fig4_smoothing.png").exists()


def test_figures_and_tables_are_drawn_and_drawn_alike_again(tmp_path, capsys, write_records):
    evidence = write_records(tmp_path)
    assert main(["--results", str(tmp_path), "--print-table"]) == 0
    assert "| block passes" in capsys.readouterr().out.replace("   block", " block")
    paths = [evidence.path("figures", f"fig4_smoothing.{kind}") for kind in ("png", "pdf")]
    paths += [evidence.path("tables", name) for name in ("smoothing.md", "smoothing.csv", "smoothing_best.md")]
    first = [path.read_bytes() for path in paths]
    assert all(len(content) > 200 for content in first)
    assert len(pd.read_csv(paths[3])) == 42
    main(["--results", str(tmp_path)])
    assert [path.read_bytes() for path in paths] == first


def test_what_is_missing_is_named_with_the_command_that_makes_it_and_what_compares_is_drawn(
    tmp_path, capsys, write_records
):
    """Each grid has the twins' cells: by themselves they are no table of trainings, nor a figure of solvers."""
    write_records(tmp_path, skip=lambda c: c.run and (c.budget, c.iterations, c.seed) == (280, 6, 0))
    assert main(["--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    command = f"python bench/run_grid.py --grid smoothing --results {tmp_path}"
    assert f"smoothing: 1 of 141 cells missing. Made by: {command}\n" in printed
    line = "fpdm 1+k+1, stochastic N=6 M=6, seed 0: 280 passes, 6 iterations x 35 steps, ddpm, 750 samples of seed 0"
    assert f"  quality of {line}: no record. Made by: {command} --only " in printed
    assert "fig4_smoothing.png" in printed  # the rest is drawn
    assert "unroll: 18 of 25 cells missing" in printed
    titles = {line.split(":")[0] for line in printed.splitlines() if not line.startswith(" ")}
    assert {"Figure 4", "Table 1", "Table 2", "Claims"} <= titles
    drawn = {path.stem for path in (tmp_path / "digits").glob("*/*")}
    assert not {"table3", "table4", "solvers", "fig6a_reuse", "fig7_prepost", "samplers", "accounts"} & drawn


def test_grids_without_cells_for_the_models_are_passed_over(tmp_path, capsys, write_records):
    write_records(tmp_path)
    assert main(["--results", str(tmp_path), "--models", "dit"]) == 0
    assert "fig4_smoothing.png" in capsys.readouterr().out
    with pytest.raises(BadInputError, match="--models dit: grid solvers has no cells"):
        main(["--results", str(tmp_path), "--models", "dit", "--grid", "solvers"])


def test_without_records_nothing_is_drawn_nor_left(tmp_path, capsys, write_records):
    with pytest.raises(BadInputError, match="no records in"):
        main(["--results", str(tmp_path / "none")])
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "none").exists()


def test_records_of_earlier_weights_are_missing(tmp_path, write_records):
    evidence = write_records(tmp_path, checkpoint="older")
    assert len(evidence.absent) == 140
    assert evidence.frame.empty


def test_different_references_are_refused(tmp_path, write_records):
    evidence = write_records(tmp_path)
    cell = evidence.cells[3]
    evidence = rewrite(
        evidence, lambda other: other == cell, inputs=lambda record: record.inputs | {"reference": "other"}
    )
    with pytest.raises(BadInputError, match="different references"):
        _ = evidence.frame


def test_a_damaged_record_is_named(tmp_path, write_records):
    evidence = write_records(tmp_path)
    path = evidence.store.record_path(evidence.cells[0])
    path.write_text(path.read_text()[:50])
    with pytest.raises(BadInputError, match=r"is damaged .* delete it"):
        evidence.store.read(evidence.cells[0])


@pytest.mark.parametrize(("name", "tables"), [("README.md", 1), ("results/README.md", 8), ("bench/PERFORMANCE.md", 7)])
def test_documents_show_the_kept_tables_and_figures(name, tables):
    root = Path(__file__).parents[3]
    document = (root / name).read_text()
    shown = re.findall(r"<!-- from (\S+) -->\n(.*?)\n<!-- end -->", document, re.DOTALL)
    assert len(shown) == tables
    for source, text in shown:
        assert text == (root / source).read_text().split("\n\n")[0]
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", document):
        assert ((root / name).parent / target).exists(), target


def test_kept_results_are_complete_clean_and_of_one_machine():
    """Complete but for the cells that only the grids of `ABSENT` have."""
    root = Path(__file__).parents[3]
    store, suite = Store(root / "results", "digits"), get_suite("digits")
    selection = resolved(Selection(), store, suite)
    grids = {name: get_cells(name, suite, selection) for name, one in GRIDS.items() if not one.gpu}
    here = {cell.key for name in grids.keys() - ABSENT for cell in grids[name]}
    for grid, cells in grids.items():
        evidence = Evidence("digits", grid, cells, store, "command", selection=selection)
        assert {key: line for key, line in evidence.absent.items() if key in here} == {}
        if evidence.kept:
            assert {environment["dirty"] for environment in environments(evidence)} == {False}
            machines = len({environment["hardware"] for environment in environments(evidence)})
            assert machines == (2 if grid == "throughput" else 1)  # of which three records are of older code
    cells = get_cells("smoothing", get_suite("digits"), Selection())
    evidence = Evidence("digits", "smoothing", cells, Store(root / "results", "digits"), "command")
    kept = pd.read_csv(root / "results/digits/tables/smoothing_best.csv")
    drawn = twins(evidence)
    assert kept.fpdm_fd.tolist() == pytest.approx(drawn.fpdm_fd.tolist(), rel=1e-5)


@pytest.mark.parametrize("grid", KEPT_OF_FASHION)
def test_kept_results_of_clothes_are_complete_clean_and_of_one_machine(grid):
    suite, results = get_suite("fashion-cpu"), Path(__file__).parents[3] / "results"
    evidence = Evidence(
        suite.name, grid, kept_of_clothes(grid, suite, Selection()), Store(results, suite.name), "command"
    )
    assert evidence.absent == {}
    assert {environment["dirty"] for environment in environments(evidence)} == {False}
    assert len({environment["hardware"] for environment in environments(evidence)}) == 1
    if len(frame := evidence.frame):
        assert 0 < evidence.floor["fid"] < frame.fid.min()
        assert evidence.floor["recall"] > frame.recall.max()
    summaries = [evidence.store.read_training(run) for run in {cell.run for cell in evidence.cells if cell.run}]
    assert all(2700 <= summary["elapsed_s"] < 2710 and summary["status"] == "done" for summary in summaries)
    assert len({summary["environment"]["hardware"] for summary in summaries}) == 1


@pytest.mark.parametrize("suite", ["digits", "fashion-cpu"])
def test_kept_claims_follow_from_the_records(suite):
    """But for the number of missing cells, which grows with the samplers."""
    missing, results = r"\d+ of \d+ cells have no result yet", Path(__file__).parents[3] / "results"
    cells = get_cells("all", get_suite(suite), Selection())
    evidence = Evidence(suite, "all", cells, Store(results, suite), "command")
    texts = (results / suite / "claims.md").read_text(), claims.ledger(evidence, claims.summary(evidence))
    kept, drawn = (re.sub(missing, "", text) for text in texts)
    assert kept == drawn


def test_reuse_is_set_against_its_absence(tmp_path, write_records):
    evidence = write_records(tmp_path, grid="reuse", seeds=(0,))
    assert len(evidence.quality) == 26
    table = fig6a_reuse.pairs(evidence.frame)
    assert len(table) == 13
    five = table[table.iterations == 5].iloc[0]
    assert (five.with_reuse, five.without_reuse) == pytest.approx((1.0, 1.4))
    assert five.ratio == pytest.approx(1 / 1.4)
    assert {path.name for path in fig6a_reuse.draw(evidence)} == {
        "fig6a_reuse.png", "fig6a_reuse.pdf", "reuse.csv", "reuse.md", "reuse.tex"
    }  # fmt: skip


def test_every_grid_is_drawn():
    assert {module.GRID for module in drawables()} == {*GRIDS, "all"}


def test_published_tables_have_the_shape_of_the_paper_and_agree_where_they_repeat_each_other():
    assert len(published.TABLE1_FID) == 6
    assert published.TABLE2_FID["imagenet", "dit"] == published.TABLE1_FID[280, "dit"]["ddpm"]
    assert published.TABLE2_FID["imagenet", "fpdm"] == published.TABLE1_FID[280, "fpdm"]["ddpm"]
    assert published.TABLE3_FID[6] == published.TABLE4_FID[6, "stochastic"]
    assert published.TABLE3_FID[12] == published.TABLE4_FID[12, "stochastic"]
    assert [len(row) for row in published.TABLE5_FID.values()] == [6, 6, 6]
    memory = published.TABLE1_TRAINING_MEMORY_GB
    assert 1 - memory["fpdm"] / memory["dit"] == pytest.approx(0.60, abs=0.01)  # "60% less memory"
    parameters = published.TABLE1_PARAMETERS_M
    assert 1 - parameters["fpdm"] / parameters["dit"] == pytest.approx(0.87, abs=0.01)  # "87% fewer parameters"
