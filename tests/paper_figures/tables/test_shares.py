"""Precision and recall stand beside FD in every table whose records have them; what a verdict and a choice are of."""

import pytest
from made_up import rewrite, shown

from paper_figures.beyond import samplers, solvers
from paper_figures.controls import contenders, equal_timesteps, training_time
from paper_figures.evidence.comparisons import FIGURE_4, ONE_SAMPLER, twins
from paper_figures.figures import fig4_smoothing, fig6a_reuse, fig7_prepost
from paper_figures.tables import table1_compute, table2_datasets, table3_unroll, table4_gradients, table5_allocation

pytestmark = pytest.mark.usefixtures("unsaved_figures")
MODULES = {
    samplers: "samplers", solvers: "solvers", contenders: "controls", equal_timesteps: "equal_timesteps",
    training_time: "training_time", fig4_smoothing: "smoothing_best", fig6a_reuse: "reuse", fig7_prepost: "prepost",
    table1_compute: "table1", table2_datasets: "table2", table3_unroll: "table3", table4_gradients: "table4",
    table5_allocation: "table5",
}  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=MODULES.values())
def test_precision_and_recall_are_in_every_table_where_they_were_measured(module, tmp_path, write_records):
    evidence = write_records(tmp_path, module.GRID, seeds=(0,), suite="fashion-cpu")
    text = shown(module, evidence)[MODULES[module]].to_string()
    assert "precision" in text
    assert "recall" in text
    assert text.count("0.800") == text.count("0.400") > 0  # as the records have them
    assert "share of samples near a real image" in evidence.path("tables", f"{MODULES[module]}.md").read_text()
    older = write_records(tmp_path / "older", module.GRID, seeds=(0,))
    assert "recall" not in shown(module, older)[MODULES[module]].to_string()


def test_they_are_those_of_the_schedule_that_is_shown(tmp_path, write_records):
    evidence = write_records(tmp_path, "compute", seeds=(0, 1, 2), suite="fashion-cpu")
    evidence = rewrite(
        evidence,
        lambda cell: cell.measure == "quality" and cell.iterations == 5,
        metrics=lambda record: record.metrics | {"recall": 0.6},
    )
    row = twins(evidence).iloc[0]
    assert row.schedule.startswith("5 x")
    assert (row.fpdm_recall, row.dit_recall) == pytest.approx((0.6, 0.4))


def test_a_verdict_on_one_sampler_says_so_and_a_narrower_choice_names_the_wider(tmp_path, write_records):
    for module, name in ((table1_compute, "table1_ratios"), (samplers, "samplers")):
        evidence = write_records(tmp_path / name, module.GRID, seeds=(0,))
        shown(module, evidence)
        text = evidence.path("tables", f"{name}.md").read_text()
        assert ONE_SAMPLER in text
        assert FIGURE_4 in text
    evidence = write_records(tmp_path / "smoothing", "smoothing", seeds=(0,))
    assert "verdict with DDPM" in shown(fig4_smoothing, evidence)["smoothing_best"]
