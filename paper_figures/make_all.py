"""Redraw every table and figure that the records allow: python paper_figures/make_all.py

Nothing is drawn of a grid with records only of what it would compare with the rest of it (`SHARED`). Says of the others
what is missing and which command would make it. Modules of this folder that have GRID, TITLE and draw are found by
themselves.
"""

import importlib
import pkgutil
import shlex
import sys
from dataclasses import dataclass
from types import ModuleType

import paper_figures
from bench.evaluation.calibration import resolved
from bench.spec.arguments import CellArguments
from bench.spec.grids import GPU_GRIDS, NoCellsError, get_cells
from bench.spec.measurements import AnyCell
from bench.spec.selection import Selection
from bench.spec.suites import Suite
from bench.store.records import Store
from bench.system.command_line import parse, run
from bench.system.files import write_json
from paper_figures.evidence.gather import Evidence

SHARED = ("smoothing", "compute")  # their cells are in other grids too, as what those are compared with
SHOWN = 3  # missing cells that are named one by one


@dataclass(frozen=True)
class Arguments(CellArguments):
    """Redraw tables and figures from the records of a suite."""

    grid: str = "all"
    """Draw what belongs to this grid only."""
    print_table: bool = False
    """Print the main table of each grid."""


def drawables() -> list[ModuleType]:
    """The modules that draw something, by name."""
    found = pkgutil.walk_packages(paper_figures.__path__, "paper_figures.")
    modules = [importlib.import_module(name) for name in sorted(module.name for module in found)]
    return [module for module in modules if hasattr(module, "GRID") and hasattr(module, "draw")]


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    suite = arguments.chosen_suite()
    store = Store(arguments.results, suite.name)
    selection = resolved(arguments.selection(), store, suite)
    modules = drawables()
    wanted = list(dict.fromkeys(module.GRID for module in modules)) if arguments.grid == "all" else [arguments.grid]
    environments, shared = [], {cell.key for grid in SHARED for cell in _cells(grid, suite, selection)}
    for grid in sorted(wanted, key=lambda grid: grid == "all"):  # claims last
        command = shlex.join(["python", "bench/run_grid.py", "--grid", grid, *arguments.flags()])
        cells = get_cells(grid, suite, selection) if grid == arguments.grid else _cells(grid, suite, selection)
        if not cells:
            continue
        evidence = Evidence(suite.name, grid, cells, store, command, arguments.variant(), selection, suite)
        if evidence.environments or grid not in GPU_GRIDS or arguments.grid == grid:  # nobody has to have a GPU
            _report_absent(evidence)
        if not evidence.environments or not _compares(evidence, shared):
            continue
        environments += [e for e in evidence.environments if e not in environments]
        for module in (m for m in modules if grid == m.GRID):
            if written := module.draw(evidence):
                print(f"{module.TITLE}: {', '.join(str(path) for path in written)}")
            if arguments.print_table and hasattr(module, "table_text"):
                print(f"\n{evidence.caption or module.TITLE}\n\n{module.table_text(evidence)}\n")
    if environments:
        write_json(store.root / arguments.variant() / "environment.json", environments)
    return 0


def _cells(grid: str, suite: Suite, selection: Selection) -> list[AnyCell]:
    """A grid's cells; none where the selection leaves none."""
    try:
        return get_cells(grid, suite, selection)
    except NoCellsError:
        return []


def _compares(evidence: Evidence, shared: set[str]) -> bool:
    """Whether there is a record of the cells that a grid has to itself, if it has any. Claims need none (`all`)."""
    if evidence.grid == "all":
        return True
    own = {cell.key for cell in evidence.cells} - shared
    return not own or not own <= evidence.absent.keys()


def _report_absent(evidence: Evidence) -> None:
    """Name the cells that are missing, and the command that makes them: one command for one cell, or for all."""
    absent = evidence.absent
    if not absent or (evidence.grid == "all" and len(absent) > SHOWN):  # each grid has named its own
        return
    print(f"{evidence.grid}: {len(absent)} of {len(evidence.cells)} cells missing. Made by: {evidence.command}")
    for key, line in list(absent.items())[:SHOWN]:
        print(f"  {line}. Made by: {evidence.command} --only {key}")
    if len(absent) > SHOWN:
        print(f"  and {len(absent) - SHOWN} more")


if __name__ == "__main__":
    sys.exit(run(main))
