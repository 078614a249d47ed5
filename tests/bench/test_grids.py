import csv
import io
import subprocess
import sys

import pytest

from bench import grids
from bench.errors import BadInputError
from bench.grids import Selection, get_cells
from bench.suites import get_suite

DIGITS = get_suite("digits")


def cells(**selection):
    return get_cells("smoothing", DIGITS, Selection(**selection))


def test_the_pairs_of_figure_4():
    pairs = [(c.iterations, c.steps) for c in cells(budgets=(280,), models=("fpdm",))]
    assert pairs == [
        (1, 93), (2, 70), (3, 56), (5, 40), (6, 35), (8, 28), (12, 20), (18, 14), (26, 10), (33, 8), (38, 7), (54, 5),
        (68, 4),
    ]  # fmt: skip
    assert [c.steps for c in cells(models=("dit",))] == [5, 10, 20]


def test_reuse_has_every_fpdm_cell_of_smoothing_twice():
    grid = get_cells("reuse", DIGITS, Selection())
    smooth = {c.key for c in cells(models=("fpdm",))}
    assert {c.key for c in grid if c.reuse} == smooth  # shared, so evaluated once
    assert len([c for c in grid if not c.reuse]) == len(smooth) == 39
    with pytest.raises(BadInputError, match="--models dit: grid reuse has no cells"):
        get_cells("reuse", DIGITS, Selection(models=("dit",)))


def test_no_cell_exceeds_its_budget_nor_could_afford_another_step():
    for cell in cells():
        per_step = cell.n_pre + cell.iterations + cell.n_post
        assert cell.block_passes <= cell.budget < cell.block_passes + per_step


def test_keys_are_unique_stable_and_depend_on_everything():
    grid = cells(seeds=(0, 1))
    assert len({c.key for c in grid}) == len(grid) == 84
    assert [c.key for c in grid] == [c.key for c in cells(seeds=(0, 1))]
    assert cells()[0].key != cells(samples=100)[0].key
    assert cells()[0].key != cells(train_seconds=7.0)[0].key


def test_runs_are_shared_by_cells_and_differ_by_budget():
    assert len({c.run for c in cells()}) == 2
    assert cells()[0].run.name != cells(train_seconds=7.0)[0].run.name
    by_steps = cells(train_steps=9)[0].run
    assert by_steps.name == cells(train_steps=9, train_seconds=7.0)[0].run.name  # seconds do not matter then


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


def test_a_key_holds_the_digests_of_extractor_and_reference(monkeypatch):
    before = cells()[0].key
    monkeypatch.setitem(grids.DIGESTS, "digits", "0" * 64)
    assert cells()[0].key != before
    monkeypatch.undo()
    monkeypatch.setattr(grids, "extractor_digest", lambda name: "0" * 16)
    assert cells()[0].key != before


def test_list_prints_csv_without_torch_datasets_or_weights():
    script = (
        "import sys; from bench.run_grid import main; main(['--list']); "
        "heavy = {'torch', 'sklearn', 'torch_fidelity', 'timm', 'pandas'} & set(sys.modules); assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 42
    header = "grid,suite,model,budget,n_pre,iterations,n_post,steps,block_passes,macs,sampler,reuse,allocation,seed"
    assert result.stdout.startswith(header)
    for row in rows:
        spent = (int(row["n_pre"]) + int(row["iterations"]) + int(row["n_post"])) * int(row["steps"])
        assert spent == int(row["block_passes"]) <= int(row["budget"])


def test_figures_need_no_torch():
    script = "import sys, paper_figures.make_all as m; m.drawables(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
