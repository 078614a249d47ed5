import math
import re
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import BadInputError
from bench.grids import GRIDS, Selection, get_cells
from bench.store import Record, Store, write_json
from bench.suites import get_suite
from paper_figures import fig4_smoothing, fig6a_reuse, published
from paper_figures.gather import Evidence, over_seeds
from paper_figures.make_all import drawables, main


def fid_of(cell):
    """A made-up quality whose best schedule is known: k = 5 at every budget, DiT worse."""
    if cell.run.model == "dit":
        return 4.0 * 140 / cell.budget + cell.seed
    cold = 0.0 if cell.reuse else 2.0 / cell.iterations
    return 1.0 + 0.1 * math.log(cell.iterations / 5) ** 2 + 0.5 * cell.seed + cold


def write_records(results, grid="smoothing", skip=(), seeds=(0,), hardware="abacus", **inputs):
    store = Store(results, "digits")
    cells = get_cells(grid, get_suite("digits"), Selection(seeds=seeds))
    for run in {cell.run for cell in cells}:
        write_json(store.training_path(run), {"digest": "d" + run.model, "status": "done", "step": 9, "elapsed_s": 9.0})
    for cell in cells:
        if (cell.run.model, cell.budget, cell.iterations) in skip:
            continue
        store.write(
            Record(
                key=cell.key,
                status="done",
                reason="",
                cell=cell.row() | {"protocol": asdict(cell.protocol)},
                inputs={"checkpoint": "d" + cell.run.model, "reference": "r", "extractor": "e"} | inputs,
                metrics={"fid": fid_of(cell), "kid": 0.01, "kid_subset_std": 0.001},
                timing={"images_per_s": 10.0, "latency_s": 0.1, "threads": 1, "workers": 2},
                environment={"hardware": hardware},
            )
        )
    return Evidence("digits", grid, cells, store, "command")


def test_summary_finds_the_best_schedule_and_sets_the_published_value_beside_it(tmp_path):
    table = fig4_smoothing.summary(write_records(tmp_path).frame)
    assert table.budget.tolist() == [140, 280, 560]
    assert table.iterations.tolist() == [5, 5, 5]
    assert table.ratio.tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert table.published_ratio.tolist() == pytest.approx([85.8 / 148.0, 43.3 / 80.9, 26.1 / 37.9])


def test_seeds_are_averaged_and_their_range_kept(tmp_path):
    rows = over_seeds(write_records(tmp_path, seeds=(0, 1, 2)).frame)
    best = rows[(rows.model == "fpdm") & (rows.iterations == 5) & (rows.budget == 280)].iloc[0]
    assert (best.fd, best.fd_low, best.fd_high, best.seeds) == (1.5, 1.0, 2.0, 3)


@pytest.mark.parametrize(
    ("dit", "fpdm", "verdict"),
    [
        ((3.0, 4.0, 2), (1.0, 2.0, 2), "FPDM better"),
        ((1.0, 2.0, 2), (3.0, 4.0, 2), "DiT better"),
        ((1.0, 3.0, 2), (2.0, 4.0, 2), "inconclusive"),
        ((1.0, 1.0, 1), (2.0, 2.0, 1), "one seed, noise unknown"),
    ],
)
def test_verdicts(dit, fpdm, verdict):
    columns = ["fd_low", "fd_high", "seeds"]
    assert fig4_smoothing._verdict(pd.Series(dit, columns), pd.Series(fpdm, columns)) == verdict


def test_times_of_different_machines_are_not_merged(tmp_path):
    evidence = write_records(tmp_path)
    assert evidence.frame.images_per_s.eq(10).all()
    assert "abacus; 1 thread(s) a cell, 2 cell(s) side by side" in evidence.timing_caption
    other = write_records(tmp_path / "other", hardware="slide rule")
    record = other.store.read(other.cells[0])
    evidence.store.write(record)
    mixed = Evidence("digits", "smoothing", evidence.cells, evidence.store, "command")
    assert mixed.frame.images_per_s.isna().all()
    assert mixed.frame.fid.notna().all()


def test_other_selections_are_drawn_beside_the_default_one(tmp_path):
    evidence = write_records(tmp_path)
    main(["--results", str(tmp_path)])
    default = evidence.path("figures", "fig4_smoothing.png").read_bytes()
    main(["--results", str(tmp_path), "--budget", "280"])
    assert evidence.path("figures", "fig4_smoothing.png").read_bytes() == default
    assert (tmp_path / "digits/figures/budget-280/fig4_smoothing.png").exists()


def test_figures_and_tables_are_drawn_and_drawn_alike_again(tmp_path, capsys):
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


def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path, capsys):
    write_records(tmp_path, skip={("fpdm", 280, 6)})
    assert main(["--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "1 of 42 cells missing (fpdm at 280 passes, 6 iterations, seed 0: no record)" in printed
    assert f"python bench/run_grid.py --grid smoothing --results {tmp_path}" in printed
    assert "fig4_smoothing.png" in printed  # the rest is drawn


def test_without_records_nothing_is_drawn_nor_left(tmp_path, capsys):
    assert main(["--results", str(tmp_path / "none")]) == 0
    assert "42 of 42 cells missing" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_records_of_earlier_weights_are_missing(tmp_path):
    evidence = write_records(tmp_path, checkpoint="older")
    assert len(evidence.absent) == 42
    assert evidence.frame.empty


def test_different_references_are_refused(tmp_path):
    evidence = write_records(tmp_path)
    cell = evidence.cells[3]
    record = evidence.store.read(cell)
    evidence.store.write(Record(**{**vars(record), "inputs": {**record.inputs, "reference": "other"}}))
    with pytest.raises(BadInputError, match="different references"):
        _ = evidence.frame


def test_a_damaged_record_is_named(tmp_path):
    evidence = write_records(tmp_path)
    path = evidence.store.record_path(evidence.cells[0])
    path.write_text(path.read_text()[:50])
    with pytest.raises(BadInputError, match=r"is damaged .* delete it"):
        evidence.store.read(evidence.cells[0])


def test_the_readme_shows_the_kept_table_and_figures():
    root = Path(__file__).parent.parent.parent
    readme = (root / "README.md").read_text()
    kept = (root / "results/digits/tables/smoothing_best.md").read_text().split("\n\n")[0]
    shown = readme.split("<!-- from results/digits/tables/smoothing_best.md -->\n")[1].split("\n<!-- end -->")[0]
    assert shown == kept
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", readme):
        assert (root / target).exists(), target


def test_kept_results_are_complete_clean_and_of_one_machine():
    root = Path(__file__).parent.parent.parent
    for grid in GRIDS:
        cells = get_cells(grid, get_suite("digits"), Selection())
        evidence = Evidence("digits", grid, cells, Store(root / "results", "digits"), "command")
        assert evidence.absent == []
        assert {environment["dirty"] for environment in evidence.environments} == {False}
        assert len({environment["hardware"] for environment in evidence.environments}) == 1
    cells = get_cells("smoothing", get_suite("digits"), Selection())
    evidence = Evidence("digits", "smoothing", cells, Store(root / "results", "digits"), "command")
    kept = pd.read_csv(root / "results/digits/tables/smoothing_best.csv")
    drawn = fig4_smoothing.summary(evidence.frame)
    assert kept.fpdm_fd.tolist() == pytest.approx(drawn.fpdm_fd.tolist(), rel=1e-5)


def test_reuse_is_set_against_its_absence(tmp_path):
    evidence = write_records(tmp_path, grid="reuse")
    assert len(evidence.cells) == 78
    table = fig6a_reuse.pairs(over_seeds(evidence.frame))
    assert len(table) == 39
    five = table[(table.iterations == 5) & (table.budget == 280)].iloc[0]
    assert (five.with_reuse, five.without_reuse) == pytest.approx((1.0, 1.4))
    assert five.reduction == pytest.approx(1 - 1 / 1.4)
    assert {path.name for path in fig6a_reuse.draw(evidence)} == {
        "fig6a_reuse.png", "fig6a_reuse.pdf", "reuse.csv", "reuse.md"
    }  # fmt: skip


def test_every_grid_is_drawn():
    assert {module.TITLE for module in drawables()} >= {"Figure 4: timestep smoothing", "Figure 6a: reusing solutions"}
    assert {module.GRID for module in drawables()} == set(GRIDS)


def test_published_tables_have_the_shape_of_the_paper_and_agree_where_they_repeat_each_other():
    assert len(published.TABLE1_FID) == 6
    assert published.TABLE2_FID["imagenet", "dit"] == published.TABLE1_FID[280, "dit"]["ddpm"]
    assert published.TABLE2_FID["imagenet", "fpdm"] == published.TABLE1_FID[280, "fpdm"]["ddpm"]
    assert published.TABLE3_FID[6] == published.TABLE4_FID[6, "stochastic jfb"]
    assert published.TABLE3_FID[12] == published.TABLE4_FID[12, "stochastic jfb"]
    assert [len(row) for row in published.TABLE5_FID.values()] == [6, 6, 6]
    memory = published.TABLE1_TRAINING_MEMORY_GB
    assert 1 - memory["fpdm"] / memory["dit"] == pytest.approx(0.60, abs=0.01)  # "60% less memory"
    parameters = published.TABLE1_PARAMETERS_M
    assert 1 - parameters["fpdm"] / parameters["dit"] == pytest.approx(0.87, abs=0.01)  # "87% fewer parameters"
