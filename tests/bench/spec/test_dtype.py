"""The arithmetic of sampling is the suite's or the user's; a GPU that lacks it is told so before any training."""

import pytest

from bench import run_grid
from bench.evaluation.plan import check_dtypes
from bench.spec.arguments import Training, What, Which, selection_of, variant_of
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.system.command_line import run
from bench.system.errors import BadInputError

FASHION = get_suite("fashion")


def cells(dtype=None):
    return get_cells("smoothing", FASHION, Selection(dtype=dtype))


def test_another_dtype_is_another_protocol_and_the_suite_s_own_is_none():
    own, asked, other = cells(), cells("bf16"), cells("fp16")
    assert [cell.key for cell in own] == [cell.key for cell in asked]
    assert not {cell.key for cell in own} & {cell.key for cell in other}
    assert {cell.protocol.dtype for cell in own} == {"bf16"}
    assert {cell.protocol.dtype for cell in other} == {"fp16"}
    assert {cell.run for cell in own if cell.run} == {cell.run for cell in other if cell.run}  # trained once


def test_tables_of_another_dtype_have_a_folder_of_their_own():
    assert variant_of(Which(suite="fashion", dtype="fp16"), Training()) == "parts/dtype-fp16"
    assert variant_of(Which(suite="fashion", dtype="bf16"), Training()) == ""


def test_an_unknown_dtype_is_refused():
    with pytest.raises(BadInputError, match=r"^--dtype fp8: choose one of fp32, fp16, bf16$"):
        selection_of(Which(dtype="fp8"), Training())
    assert selection_of(What(), Training()).dtype is None


@pytest.mark.parametrize(
    ("gpu", "instead"), [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "")], indirect=["gpu"], ids=["V100", "T4", "A100"]
)
def test_a_gpu_without_the_dtype_is_told_before_training(gpu, instead, tmp_path, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(run_grid, "check_data", lambda *_: None)
    monkeypatch.setattr("bench.evaluation.local.Local.run", lambda self, cells: trained.append(cells))
    arguments = ["--suite", "fashion", "--device", "cuda", "--results", str(tmp_path / "results")]
    assert run(run_grid.main, arguments) == (2 if instead else 0)
    why = "fashion is sampled in bf16, which pretended GPU does not compute in"
    line = f"error: {why}: sample, and draw, with --dtype fp16"
    assert capsys.readouterr().err.splitlines() == ([line] if instead else [])
    assert bool(trained) == (not instead)
    if instead:
        assert run(run_grid.main, [*arguments, "--dtype", instead]) == 0
        assert trained[0][0].protocol.dtype == instead
    assert not (tmp_path / "results").exists()


def test_a_machine_without_16_bits_takes_32():
    with pytest.raises(BadInputError, match=r"with --dtype fp32$"):
        check_dtypes(cells(), ("fp32",), "an abacus")
    check_dtypes(cells("fp32"), ("fp32",), "an abacus")
