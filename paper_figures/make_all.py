"""Redraw every table and figure that the records allow: python paper_figures/make_all.py

A grid is drawn if it has a record that no shared grid (`SHARED`) has. For every other grid, the command prints the
missing cells and the command that makes them. Modules of this folder that have GRID, TITLE and draw are found by
themselves.
"""

import importlib
import pkgutil
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import tyro

import paper_figures
from bench.spec.arguments import Results, Training, Which, flags, one_of, only, selection_of, suite_of, variant_of
from bench.spec.contenders import Suite
from bench.spec.grids.catalogue import ALL, NoCellsError, get_cells, grid_names
from bench.spec.grids.registry import GRIDS
from bench.spec.measurements import AnyCell
from bench.spec.selection import Selection
from bench.store.prices import resolved
from bench.store.records import Record, Store
from bench.system.command_line import Group, parse, run
from bench.system.errors import BadInputError
from bench.system.files import write_json
from paper_figures.evidence.gather import Evidence

SHARED = ("smoothing", "compute")  # their cells are in other grids too, as what those are compared with
SHOWN = 3  # missing cells that are named one by one


@dataclass(frozen=True)
class Drawn(Which):
    """Which cells are drawn."""

    grid: Annotated[str, tyro.conf.arg(help=f"Draw what belongs to this grid only: {one_of(*grid_names())}.")] = ALL
    print_table: bool = False
    """Print the main table of each grid."""


@dataclass(frozen=True)
class Arguments:
    """Redraw tables and figures from the records of a suite."""

    what: Group[Drawn] = Drawn()
    """Cells to draw."""
    training: Group[Training] = Training()
    """Training of the contenders."""
    places: Group[Results] = Results()
    """Folders."""


def drawables() -> list[ModuleType]:
    """The modules that draw something, by name."""
    found = pkgutil.walk_packages(paper_figures.__path__, "paper_figures.")
    modules = [importlib.import_module(name) for name in sorted(module.name for module in found)]
    return [module for module in modules if hasattr(module, "GRID") and hasattr(module, "draw")]


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    what, training = arguments.what, arguments.training
    which = only(Which, what)
    suite, variant = suite_of(which, training), variant_of(which, training)
    store = Store(arguments.places.results, suite.name)
    selection = resolved(selection_of(which, training), store, suite)
    modules = drawables()
    kept: dict[str, Record] = {}
    whole = True
    shared = {cell.key for grid in SHARED for cell in _cells(grid, suite, selection)}
    if what.grid != ALL:
        get_cells(what.grid, suite, selection)  # bad input comes first
    grids = list(dict.fromkeys(module.GRID for module in modules))
    for grid in sorted(grids, key=lambda grid: grid == ALL):  # claims last
        wanted = what.grid in (grid, ALL)
        command = shlex.join(["python", "bench/run_grid.py", "--grid", grid, *flags(which, training, arguments.places)])
        if not (cells := _cells(grid, suite, selection)):
            continue
        evidence = Evidence(suite.name, grid, cells, store, command, variant, selection, suite)
        try:
            records = evidence.kept
        except BadInputError:
            if wanted:
                raise
            whole = False  # a damaged record of another grid
            continue
        gpu = grid in GRIDS and GRIDS[grid].gpu
        if wanted and (records or not gpu or what.grid == grid):  # nobody has to have a GPU
            _report_absent(evidence)
        if not records or not _compares(evidence, shared):
            continue
        kept |= records
        for module in (m for m in modules if wanted and grid == m.GRID):
            if written := module.draw(evidence):
                print(f"{module.TITLE}: {', '.join(str(path) for path in written)}")
            if what.print_table and hasattr(module, "table_text"):
                print(f"\n{evidence.caption or module.TITLE}\n\n{module.table_text(evidence)}\n")
    if kept and whole:  # of all grids, whichever is drawn: drawing a part changes no kept file
        write_json(store.root / variant / "environment.json", _environments(kept.values()))
    return 0


def _environments(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The different environments of records, in the order in which they were first used."""
    unique: list[dict[str, Any]] = []
    for record in sorted(records, key=lambda record: (record.finished_at, record.key)):
        if record.environment not in unique:
            unique.append(record.environment)
    return unique


def _cells(grid: str, suite: Suite, selection: Selection) -> list[AnyCell]:
    """A grid's cells; none where the selection leaves none."""
    try:
        return get_cells(grid, suite, selection)
    except NoCellsError:
        return []


def _compares(evidence: Evidence, shared: set[str]) -> bool:
    """Whether there is a record of the cells that a grid has to itself, if it has any. Claims need none (`all`)."""
    if evidence.grid == ALL:
        return True
    own = {cell.key for cell in evidence.cells} - shared
    return not own or not own <= evidence.absent.keys()


def _report_absent(evidence: Evidence) -> None:
    """Name the cells that are missing, and the command that makes them: one command for one cell, or for all."""
    absent = evidence.absent
    if not absent or (evidence.grid == ALL and len(absent) > SHOWN):  # each grid has named its own
        return
    print(f"{evidence.grid}: {len(absent)} of {len(evidence.cells)} cells missing. Made by: {evidence.command}")
    for key, line in list(absent.items())[:SHOWN]:
        print(f"  {line}. Made by: {evidence.command} --only {key}")
    if len(absent) > SHOWN:
        print(f"  and {len(absent) - SHOWN} more")


if __name__ == "__main__":
    sys.exit(run(main))
