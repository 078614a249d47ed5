"""What every table does: written for people and machines, it says what it can of records that are not all there."""

import math
import re
from dataclasses import replace

import pandas as pd
import pytest
from made_up import SEEDS, diverge, flat, shown

from bench.spec.cells import Cell
from paper_figures.beyond import (
    accelerator as extra_accelerator,
)
from paper_figures.beyond import (
    accounts as extra_accounts,
)
from paper_figures.beyond import (
    cost_model as extra_cost_model,
)
from paper_figures.beyond import (
    larger_budgets as extra_beyond,
)
from paper_figures.beyond import (
    memory as extra_memory,
)
from paper_figures.beyond import (
    samplers as extra_samplers,
)
from paper_figures.beyond import (
    solvers as extra_solvers,
)
from paper_figures.beyond import (
    throughput as extra_throughput,
)
from paper_figures.evidence import comparisons
from paper_figures.evidence.gather import Evidence
from paper_figures.make_all import drawables
from paper_figures.tables import table1_compute, table2_datasets, table3_unroll, table4_gradients, table5_allocation

MODULES = (
    table1_compute, table2_datasets, table3_unroll, table4_gradients, table5_allocation, extra_solvers, extra_samplers,
    extra_beyond, extra_accounts,
)  # fmt: skip
OF_THE_PAPER = ["claim", "Table 1"]  # columns of what it says, whatever was measured
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
COMPUTED = extra_memory, extra_throughput, extra_cost_model, extra_accelerator  # of no quality
each_module_and_computed = pytest.mark.parametrize("module", [*MODULES, *COMPUTED], ids=each_module.kwargs["ids"])


@each_module_and_computed
def test_tables_are_for_people_machines_and_latex(module, tmp_path, write_records):
    evidence = write_records(tmp_path, module.GRID, seeds=SEEDS, fid=flat)
    paths = module.draw(evidence)
    assert module in drawables()
    assert {path.suffix for path in paths} >= {".csv", ".md", ".tex"}
    for path in paths:
        if path.suffix == ".tex":
            tex = path.read_text()
            assert all(rule in tex for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
            assert tex.count("{") == tex.count("}")
            assert not re.search(r"(?<!\\)[%&_#^~]", re.sub(r" & |\\label\{.*\}", "", tex))
            body = tex.split(r"\toprule")[1].split(r"\bottomrule")[0]
            columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", tex)[1])
            assert {line.count(" & ") + 1 for line in body.splitlines() if line.endswith(r"\\")} == {columns}
            assert re.sub(r"é|±", "", tex).isascii()
        elif path.suffix == ".csv":
            assert len(pd.read_csv(path))
    assert module.table_text(evidence).startswith("|")


@each_module
def test_one_replicate_has_no_interval(module, tmp_path, write_records, unsaved_figures):
    evidence = write_records(tmp_path, module.GRID, seeds=(0,), fid=flat)
    for table in shown(module, evidence).values():
        text = table.drop(columns=OF_THE_PAPER, errors="ignore").to_string()
        assert "±" not in text
        assert not re.search(r"nan|inf\b|better|worse", text)


@each_module_and_computed
def test_the_rest_is_drawn_where_records_are_missing(module, tmp_path, write_records, unsaved_figures):
    """A third of the records; FPDM's but one schedule; DiT's; the suite's own recipe's; those in common; all."""
    skips = {
        "third": lambda c: int(c.key, 16) % 3 == 0,
        "fpdm": lambda c: isinstance(c, Cell) and c.run.model == "fpdm" and c.iterations != 8,
        "dit": lambda c: isinstance(c, Cell) and c.run.model == "dit",
        "twin": lambda c: isinstance(c, Cell) and c.run.recipe.n_max == 6,
        "disjoint": lambda c: isinstance(c, Cell) and (c.seed == 0) == (c.iterations == 5),
        "all": lambda c: True,
    }
    for name, skip in skips.items():
        evidence = write_records(tmp_path / name, module.GRID, seeds=SEEDS, fid=flat, skip=skip)
        tables = shown(module, evidence)
        module.table_text(evidence)
        if not evidence.absent:
            continue
        for stem, table in tables.items():
            assert not re.search(r"\bnan\b|\bNone\b|\binf\b", table.to_string()), table.to_string()
            missing = f"{len(evidence.absent)} of {len(evidence.cells)} cells have no result yet."
            assert missing in evidence.path("tables", f"{stem}.md").read_text()


def test_a_replicate_that_is_not_complete_does_not_choose(tmp_path, write_records):
    """Replicate 1 has only k = 1 so far: it would be chosen for want of others."""

    def lost(cell):
        return cell.run and cell.run.model == "fpdm" and cell.seed == 1 and cell.iterations != 1

    evidence = write_records(tmp_path, "datasets", seeds=SEEDS, skip=lost)
    row = comparisons.twins(evidence).iloc[0]
    assert (row.schedule, row.replicates) == ("5 x 40", 2)


@each_module
def test_divergence_is_a_result(module, tmp_path, write_records, unsaved_figures):
    evidence = diverge(write_records(tmp_path, module.GRID, seeds=SEEDS, fid=flat), lambda cell: cell.seed == 1)
    texts = {stem: table.to_string() for stem, table in shown(module, evidence).items()}
    assert any("diverged" in text for text in texts.values())
    everything = diverge(evidence)
    for table in shown(module, everything).values():
        text = table.drop(columns=OF_THE_PAPER, errors="ignore").to_string()
        assert not re.search(r"\bnan\b|\binf\b|better|worse", text), text
    module.table_text(everything)


def test_a_diverged_side_loses(tmp_path, write_records):
    evidence = write_records(tmp_path, "samplers", seeds=SEEDS, fid=flat)
    rows = comparisons.twins(diverge(evidence, lambda cell: cell.run.model == "fpdm"))
    assert set(rows.verdict) == {"DiT better"}
    assert set(rows.ratio_text) == {"diverged"}


def test_only_diverged_schedules_are_passed_over(tmp_path, write_records):
    evidence = write_records(tmp_path, "datasets", seeds=SEEDS)
    row = comparisons.twins(diverge(evidence, lambda cell: cell.iterations == 5)).iloc[0]
    assert row.iterations in (3, 8)
    assert math.isfinite(row.fpdm_fd)


def test_several_budgets_have_a_column(tmp_path, write_records):
    evidence = write_records(tmp_path, "allocation", seeds=(0,))
    cells = [replace(cell, budget=b, steps=1 + b // 20) for cell in evidence.quality for b in (140, 560)]
    for cell, origin in zip(cells, (cell for cell in evidence.quality for _ in range(2)), strict=True):
        evidence.store.write(replace(evidence.store.read(origin), key=cell.key))
    for module in (table3_unroll, table4_gradients, table5_allocation, extra_solvers):
        wide = Evidence("digits", module.GRID, cells, evidence.store, "")
        tables = shown(module, wide)
        if module in (table5_allocation, extra_solvers):
            assert all(set(table["block passes"]) == {"140", "560"} for table in tables.values())
