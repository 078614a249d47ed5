import json

import pytest

from bench.benchmarks import where
from bench.system.command_line import run


def test_shares_of_a_step_are_by_class(tmp_path, monkeypatch):
    monkeypatch.setattr(where, "why_not_compile", lambda device: "no compiler")
    monkeypatch.setattr(where, "SIZES", {"digits": ("digits", 8, True)})
    monkeypatch.setattr(where, "REPEATS", 1)
    assert where.main(["--sizes", "digits", "--results", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "performance" / "where.json").read_text())["measured"]
    assert {(row["network"], row["work"], row["mode"]) for row in rows} == {
        (network, work, "eager") for network in ("dit", "fpdm") for work in ("forward", "training step")
    }
    for row in rows:
        percent = row["percent"]
        assert sum(percent.values()) == pytest.approx(100)
        assert min(percent["products"], percent["attention"], percent["norms"]) > 0
        assert (percent["optimizer and averages"] > 0) == (row["work"] == "training step")
        assert max(row["largest_of_the_rest"].values()) < 30  # a large operator would lack a class
    lines = (tmp_path / "performance" / "where.md").read_text().splitlines()
    assert len(lines) == 2 + len(rows) + 2
    assert lines[-1].startswith("Measured on ")


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("aten::addmm", "products"),
        ("aten::addcmul", "pointwise"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("## Call CompiledFxGraph abc ##", "fused"),
        ("autograd::engine::evaluate_function: AddmmBackward0", where.REST),
    ],
)
def test_classes_are_by_name(operator, expected):
    assert where.class_of(operator) == expected


def test_an_unknown_size_is_refused(capsys):
    assert run(where.main, ["--sizes", "XXL"]) == 2
    assert capsys.readouterr().err == "error: --sizes XXL: unknown; choose from digits, fashion-cpu, xl_2\n"
