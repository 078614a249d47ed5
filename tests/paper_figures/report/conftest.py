"""A page of made-up records, drawn once: digits with three replicates, two grids of quality, the memory of Table 1."""

from types import SimpleNamespace

import pytest
from made_up import noise
from pages import Page, draw

from paper_figures.claims import ledger
from paper_figures.figures import fig4_smoothing
from paper_figures.tables import table1_compute

CONTROLS = SimpleNamespace(GRID="controls", TITLE="Controls", draw=lambda evidence: [])
DRAWN = (table1_compute, fig4_smoothing, ledger, CONTROLS)


def fid(cell):
    """DiT 3, FPDM 1.5, replicates almost alike."""
    return (3.0 if cell.model == "dit" else 1.5) * noise(cell)


@pytest.fixture(scope="session")
def results(tmp_path_factory, write_records):
    folder = tmp_path_factory.mktemp("report") / "results"
    for grid in ("compute", "smoothing"):
        write_records(folder, grid, seeds=(0, 1, 2), fid=fid)
    return folder


@pytest.fixture(scope="session")
def path(results):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "CLAIMS", ledger.CLAIMS[:3])
        patch.setattr(ledger, "OWN_CLAIMS", ledger.OWN_CLAIMS[:1])
        assert draw(results, DRAWN) == 0
    return results / "digits" / "report.html"


@pytest.fixture(scope="session")
def page(path):
    return Page(path.read_text())
