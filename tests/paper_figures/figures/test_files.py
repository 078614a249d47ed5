"""Every figure: its files, and that it is drawn, alike again, from whatever records there are."""

import pytest
from made_up import diverge

from paper_figures.beyond import accounts as extra_accounts
from paper_figures.figures import (
    fig1_samples,
    fig2_architecture,
    fig3_schedules,
    fig4_smoothing,
    fig5_strips,
    fig6a_reuse,
    fig6bc_convergence,
    fig7_prepost,
    fig8_11_uncurated,
    fig12_comparison,
    training_loss,
)

FILES = {
    fig1_samples: {"fig1_samples"},
    fig2_architecture: {"fig2_architecture"},
    fig3_schedules: {"fig3_schedules"},
    fig4_smoothing: {"fig4_smoothing", "smoothing", "smoothing_best"},
    fig5_strips: {"fig5_strips"},
    fig6a_reuse: {"fig6a_reuse", "reuse"},
    fig6bc_convergence: {"fig6b_convergence", "fig6c_convergence"},
    fig7_prepost: {"fig7_prepost", "prepost"},
    fig8_11_uncurated: {"fig8_11_digits"},
    fig12_comparison: {"fig12_comparison"},
    training_loss: {"training_loss"},
    extra_accounts: {"accounts", "accounts_claims"},
}
WITHOUT_RECORDS = {fig2_architecture, fig3_schedules, training_loss}  # drawn from configurations, or training logs


def name_of(module):
    return module.__name__.rpartition(".")[2]


@pytest.mark.parametrize("module", FILES, ids=name_of)
def test_every_file_is_written_and_written_alike_again(module, evidence_of, capsys):
    evidence = evidence_of(module.GRID)
    paths = module.draw(evidence)
    assert {path.stem for path in paths} == FILES[module]
    assert {".png", ".pdf"} <= {path.suffix for path in paths}
    first = {path: path.read_bytes() for path in paths}
    assert all(len(content) > 100 for content in first.values())
    assert module.draw(evidence) == paths
    assert {path: path.read_bytes() for path in paths} == first


@pytest.mark.parametrize("module", FILES, ids=name_of)
def test_without_records_nothing_is_drawn_and_nothing_raised(module, write_records, tmp_path, capsys):
    paths = module.draw(write_records(tmp_path, grid=module.GRID, skip=lambda cell: True))
    assert bool(paths) == (module in WITHOUT_RECORDS)


@pytest.mark.parametrize("module", FILES, ids=name_of)
def test_what_there_is_is_drawn(module, write_records, tmp_path, capsys):
    """One network's records, and not all of those."""

    def skip(cell):
        if cell.run is None:
            return False
        reused = cell.measure == "convergence" and cell.reuse
        return cell.run.model == "dit" or reused or (cell.budget == 280 and cell.iterations in (5, 8))

    assert {path.stem for path in module.draw(write_records(tmp_path, grid=module.GRID, skip=skip))} == FILES[module]


@pytest.mark.parametrize("module", [fig4_smoothing, fig6a_reuse], ids=name_of)
def test_all_diverged_is_a_table_without_a_figure(module, write_records, tmp_path):
    evidence = diverge(write_records(tmp_path, grid=module.GRID))
    assert {path.suffix for path in module.draw(evidence)} == {".md", ".csv", ".tex"}
