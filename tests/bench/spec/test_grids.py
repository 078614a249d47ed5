import csv
import io
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from bench.spec.cells import CELL_COLUMNS
from bench.spec.datasets import DATASETS
from bench.spec.extractors import EXTRACTORS
from bench.spec.grids import controls
from bench.spec.grids.catalogue import NoCellsError, get_cells
from bench.spec.grids.enumeration import cell_of
from bench.spec.grids.registry import GRIDS
from bench.spec.measurements import BUDGETS
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.table import COLUMNS
from bench.system.errors import BadInputError
from models.diffusion.samplers import get_sampler
from models.families import forward_macs

DIGITS = get_suite("digits")


def cells(grid="smoothing", measure="quality", **selection):
    found = get_cells(grid, DIGITS, Selection(**{"seeds": (0,)} | selection))
    return [cell for cell in found if cell.measure == measure]


def of_the_paper():
    """The cells of all grids but those on controls, training time and noise."""
    names = [name for name, one in GRIDS.items() if one.cells.__module__ != controls.__name__ and not one.gpu]
    names.remove("panel")
    return list({c.key: c for name in names for c in get_cells(name, DIGITS, Selection())}.values())


def own(run):
    """Whether it is a contender's own training."""
    return (run.config, run.recipe) in [(one.config, one.recipe) for one in DIGITS.contenders]


def test_the_pairs_of_figure_4():
    pairs = [(c.iterations, c.steps) for c in cells(budgets=(280,), models=("fpdm",))]
    assert pairs == [
        (1, 93), (2, 70), (3, 56), (5, 40), (6, 35), (8, 28), (12, 20), (18, 14), (26, 10), (33, 8), (38, 7), (54, 5),
        (68, 4),
    ]  # fmt: skip
    assert [c.steps for c in cells(models=("dit",))] == [5, 10, 20]


def test_reuse_has_the_fpdm_cells_of_smoothing_twice():
    grid = cells("reuse")
    smooth = {c.key for c in cells(models=("fpdm",), budgets=(280,))}
    assert {c.key for c in grid if c.reuse} == smooth  # shared, so evaluated once
    assert len([c for c in grid if not c.reuse]) == len(smooth) == 13
    with pytest.raises(BadInputError, match="--models dit: grid reuse has no cells"):
        cells("reuse", models=("dit",))


@pytest.mark.parametrize("grid", [*GRIDS, "all"])
def test_every_grid_lists_each_cell_once_with_the_same_columns(grid):
    found = get_cells(grid, DIGITS, Selection())
    assert len({c.key for c in found}) == len(found) > 0
    assert all(tuple(c.row()) == CELL_COLUMNS for c in found)
    if grid == "all":
        asked = (name for name, one in GRIDS.items() if not one.gpu)
        assert {c.key for name in asked for c in get_cells(name, DIGITS, Selection())} == {c.key for c in found}


def test_the_training_runs_of_the_whole_paper():
    """Twins and ten ablations with three seeds each: Tables 3 and 4 share M = N = 12; the twin itself is M = N = 6."""
    runs = {c.run for c in of_the_paper() if c.run is not None}
    twins = {r for r in runs if own(r)}
    assert sorted((r.model, r.seed) for r in twins) == [(m, s) for m in ("dit", "fpdm") for s in (0, 1, 2)]
    others = runs - twins
    assert {r.recipe.seconds for r in runs} == {DIGITS.subject.recipe.seconds}
    kinds = {(r.recipe.unroll, r.recipe.n_max, r.recipe.m_max, r.config.n_pre, r.config.n_post) for r in others}
    assert kinds == {
        ("stochastic", 3, 3, 1, 1), ("stochastic", 12, 12, 1, 1), ("stochastic", 24, 24, 1, 1),
        ("jfb", 6, 1, 1, 1), ("jfb", 12, 1, 1, 1), ("multi-step", 6, 6, 1, 1), ("multi-step", 12, 12, 1, 1),
        ("stochastic", 6, 6, 0, 0), ("stochastic", 6, 6, 2, 2), ("stochastic", 6, 6, 4, 4),
    }  # fmt: skip
    assert len(kinds) == 10
    assert len(others) == 3 * 10


def test_ablations_have_the_first_replicates_only():
    six = Selection(seeds=(4, 5, 6, 7, 8, 9))
    for grid, seeds in (("unroll", {4, 5, 6}), ("training-time", {4, 5, 6}), ("smoothing", {4, 5, 6, 7, 8, 9})):
        found = [c for c in get_cells(grid, DIGITS, six) if c.measure == "quality"]
        assert {c.seed for c in found} == {c.run.seed for c in found} == seeds


def test_the_panel_samples_each_training_three_times():
    found = [c for c in get_cells("panel", DIGITS, Selection(seeds=(0, 1))) if c.measure == "quality"]
    assert sorted((c.run.model, c.run.seed, c.seed) for c in found) == [
        (model, seed, seed + apart) for model in ("dit", "fpdm") for seed in (0, 1) for apart in (0, 2000, 4000)
    ]
    assert {c.key for c in found if c.seed < 2000} < {c.key for c in get_cells("smoothing", DIGITS, Selection())}


def test_a_replicate_is_a_training_seed_and_a_sampling_seed():
    for cell in (c for c in of_the_paper() if c.measure == "quality"):
        assert cell.run.seed == cell.seed
    seeds = Counter((c.row() | dict.fromkeys(("seed", "train_seed", "train_run", "key"), "")).__repr__()
                    for c in of_the_paper() if c.measure == "quality")  # fmt: skip
    assert set(seeds.values()) == {3}  # three replicates of every quality cell


def test_controls_train_once_a_replicate_and_borrowers_not_at_all():
    found = cells("controls", seeds=(0, 1, 2))
    runs = {c.run for c in found}
    trained = ("dit", "fpdm", "dit-3", "dit-7", "dit-14", "looped")
    assert sorted((r.model, r.seed) for r in runs) == sorted((m, s) for m in trained for s in (0, 1, 2))
    assert all(own(run) for run in runs)
    lenders = {(c.model, c.run.model) for c in found if c.model != c.run.model}
    assert lenders == {("dit-cached", "dit"), ("fpdm-tied", "fpdm")}
    optional = cells("controls", models=("dit-5", "looped-2", "fpdm-2"))
    assert {c.run.config.depth for c in optional if c.model == "dit-5"} == {5}
    assert {c.config.loop_blocks for c in optional if c.model != "dit-5"} == {2}


def test_controls_that_a_budget_does_not_buy_a_step_are_left_out_unless_named():
    small = get_suite("imagenet", size="XS/2")  # a DiT of 4 blocks
    found = get_cells("controls", small, Selection(budgets=(12,), seeds=(0,)))
    assert {c.model for c in found if c.run is not None} == {
        "dit", "fpdm", "dit-3", "dit-7", "looped", "dit-cached", "fpdm-tied"
    }  # fmt: skip
    with pytest.raises(BadInputError, match="--budget 12: one step of dit-14 takes 14"):
        get_cells("controls", small, Selection(budgets=(12,), seeds=(0,), models=("dit-14",)))


def test_what_each_contender_has_to_choose_among():
    """Schedules of each at a budget and sampler: equal numbers, or nearly so."""
    found = Counter((c.model, c.budget, c.sampler) for c in cells("controls") if c.budget in BUDGETS)
    counts = {model: {n for (name, _, _), n in found.items() if name == model} for model in {m for m, _, _ in found}}
    assert counts == {
        "dit": {1}, "dit-3": {1}, "dit-7": {1}, "dit-14": {1}, "fpdm": {4}, "looped": {4}, "dit-cached": {4},
        "fpdm-tied": {6},
    }  # fmt: skip


def test_learning_rates_are_tried_on_a_seed_that_no_replicate_has():
    found = [cell for cell in cells("learning-rates") if cell.run]
    assert {(c.seed, c.run.seed) for c in found} == {(1000, 1000)}
    rates = {(c.model, c.run.recipe.learning_rate) for c in found}
    assert rates == {(model, rate) for model in ("dit", "fpdm", "looped") for rate in (1e-3, 2e-3, 4e-3)}


def test_training_time_runs_from_a_quarter_to_four_times_the_budget():
    found = cells("training-time")
    lengths = {(c.model, c.run.recipe.seconds) for c in found}
    assert lengths == {(m, s) for m in ("dit", "fpdm", "dit-3", "dit-7") for s in (25, 50, 100, 200, 400)}
    assert len({c.run.chain for c in found}) == 4
    usual = {c.key for c in cells("controls")}  # the cells at the suite's own budget are shared
    assert {c.key for c in found if c.run.recipe.seconds == 100} <= usual
    steps = cells("training-time", train_steps=10)
    assert {c.run.steps for c in steps} == {2, 5, 10, 20, 40}


def test_a_loop_cannot_reuse_solutions():
    run = cells("controls", models=("looped",))[0].run
    with pytest.raises(BadInputError, match=r"looped cannot reuse solutions: .* no state to carry"):
        cell_of(DIGITS, Selection(), run, 280, 5, 0, reuse=True)
    with pytest.raises(BadInputError, match="--models looped: grid reuse has no cells"):
        cells("reuse", models=("looped",))


def test_only_figure_1_has_guidance():
    found = get_cells("all", DIGITS, Selection())
    assert {c.protocol.guidance_scale for c in found if c.run and c.measure != "images"} == {1.0}
    images = cells("samples", "images")
    assert sorted({(c.protocol.guidance_scale, c.protocol.guidance_channels) for c in images}) == [(1.0, 0), (4.0, 1)]
    assert {c.budget for c in images} == {560}


def test_no_cell_exceeds_its_budget_nor_could_afford_another_step():
    asked = (get_cells(name, DIGITS, Selection()) for name in GRIDS if name != "accounts")  # those of test_accounts
    for cell in (c for found in asked for c in found if c.run is not None):
        assert cell.block_passes <= cell.budget < replace(cell, steps=cell.steps + 1).block_passes


@pytest.mark.parametrize("suite", ["digits", "imagenet"])
def test_no_contender_exceeds_any_budget(suite):
    """Every contender and schedule at every budget from one DiT step to 40 of them, in block passes and in MACs."""
    suite = get_suite(suite)
    depth = suite.baseline.config.depth
    for account, budget in product(("blocks", "macs"), range(depth, 40 * depth, 37)):
        chosen = Selection(budgets=(budget,), models=suite.names, seeds=(0,), account=account)
        for cell in get_cells("controls", suite, chosen):
            if cell.measure == "quality" and cell.budget == budget:
                whole = forward_macs(suite.baseline.config) * (budget // depth)
                spent, allowed = (cell.block_passes, budget) if account == "blocks" else (cell.macs, whole)
                assert spent <= allowed
                more = replace(cell, steps=cell.steps + 1)
                assert cell.steps == 1000 or (more.block_passes if account == "blocks" else more.macs) > allowed


def test_keys_are_unique_stable_and_depend_on_everything():
    grid = cells(seeds=(0, 1))
    assert len({c.key for c in grid}) == len(grid) == 84
    assert [c.key for c in grid] == [c.key for c in cells(seeds=(0, 1))]
    assert {c.key for c in get_cells("smoothing", DIGITS, Selection(seeds=(0, 1)))} > {c.key for c in grid}
    assert cells()[0].key != cells(samples=100)[0].key
    assert cells()[0].key != cells(train_seconds=7.0)[0].key


def test_runs_are_shared_by_cells_and_differ_by_budget():
    assert len({c.run for c in cells(seeds=(0,))}) == 2
    assert cells()[0].run.name != cells(train_seconds=7.0)[0].run.name
    assert cells()[0].run.name != cells(train_steps=9)[0].run.name


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"budgets": (2,)}, "--budget 2: one step of dit takes 28"),
        ({"budgets": (27, 280)}, "--budget 27"),
        ({"budgets": (0,)}, "--budget 0: must be 1 or more"),
        ({"budgets": (280, -3)}, "--budget -3"),
        ({"budgets": ()}, "--budget is empty"),
        ({"budgets": (280, 280)}, "repeats"),
        ({"models": ("unet",)}, "unknown model 'unet'"),
        ({"samples": 0}, "--samples 0"),
        ({"seeds": (-1,)}, "--seeds -1"),
        ({"train_seconds": 0.0}, "--train-seconds 0"),
        ({"train_seconds": float("nan")}, "--train-seconds nan"),
        ({"train_steps": 0}, "--train-steps 0"),
    ],
)
def test_bad_selections_name_the_value(selection, message):
    with pytest.raises(BadInputError, match=message):
        cells(**selection)


def test_a_small_budget_keeps_the_cells_that_it_allows():
    grid = cells(budgets=(5,), models=("fpdm",))
    assert [(c.iterations, c.steps) for c in grid] == [(1, 1), (2, 1), (3, 1)]


def test_what_a_small_budget_leaves_of_all_grids():
    """4 + 4 pre/post layers need 9 passes; an empty grid alone says so, among all it is passed over."""
    small = Selection(budgets=(5,), models=("fpdm",))
    assert {c.n_pre for c in get_cells("prepost", DIGITS, small) if c.run} == {0, 1}
    assert get_cells("all", DIGITS, small)
    with pytest.raises(NoCellsError, match="--models fpdm --budget 5: grid convergence has no cells"):
        get_cells("convergence", DIGITS, small)


def test_a_key_holds_the_digests_of_extractor_and_reference(monkeypatch):
    before = cells()[0].key
    monkeypatch.setitem(DATASETS, "digits", replace(DATASETS["digits"], digest="0" * 64))
    assert cells()[0].key != before
    monkeypatch.undo()
    monkeypatch.setitem(EXTRACTORS, "digits-cnn", replace(EXTRACTORS["digits-cnn"], digest="0" * 16))
    assert cells()[0].key != before


def test_list_prints_csv_without_torch_datasets_or_weights():
    script = (
        "import sys; from bench.run_grid import main; main(['--list', '--grid', 'all', '--results', '/none']); "
        "heavy = {'torch', 'sklearn', 'torch_fidelity', 'timm', 'pandas'} & set(sys.modules); assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == len(get_cells("all", DIGITS, Selection()))
    assert tuple(rows[0]) == COLUMNS
    for row in (r for r in rows if r["steps"]):  # but for those that sample nothing
        evaluations = get_sampler(row["sampler"]).tally([0] * int(row["steps"])).total()
        spent = (int(row["n_pre"]) + int(row["iterations"]) + int(row["n_post"])) * evaluations
        assert int(row["block_passes"]) <= int(row["budget"])
        assert spent == int(row["block_passes"]) or row["contender"] == "dit-cached"  # whose steps differ


def test_figures_need_no_torch():
    script = "import sys, paper_figures.make_all as m; m.drawables(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_readme_lists_the_registered_grids():
    text = (Path(__file__).parents[3] / "bench" / "README.md").read_text()
    table = text.split("<!-- grids -->\n")[1].split("<!-- end grids -->")[0].splitlines()
    assert table[2:] == [f"| `{grid.name}` | {grid.shows} | {grid.varies} |" for grid in GRIDS.values()]
