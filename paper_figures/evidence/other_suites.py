"""The evidence of other suites, whose records are in the same results folder."""

from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import SUITES, get_suite
from bench.store.prices import resolved
from bench.store.records import Store
from paper_figures.evidence.gather import Evidence


def beside(evidence: Evidence, suite: str, grid: str) -> Evidence:
    """Another suite's default cells of a grid in the same account, their records in the same results folder.

    Without cells where the account is seconds and the other suite is not calibrated.
    """
    store = Store(evidence.store.root.parent, suite)
    selection = resolved(Selection(account=evidence.account.name), store, get_suite(suite))
    counted = selection.account != "seconds" or selection.prices is not None
    cells = get_cells(grid, get_suite(suite), selection) if counted else []
    return Evidence(suite, grid, cells, store, "", selection=selection)


def with_results(evidence: Evidence, grid: str) -> list[Evidence]:
    """This suite's evidence, and of every other suite with quality results in the same folder that `beside` it."""
    found, folder = [evidence.accounted], evidence.store.root.parent
    for name in (name for name in SUITES if name != evidence.suite and (folder / name / "records").is_dir()):
        other = beside(evidence, name, grid).accounted
        found += [other] if len(other.frame) else []
    return found
