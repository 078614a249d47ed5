"""Redraw every table and figure that the records allow: python paper_figures/make_all.py

A grid is drawn if it has a record that no shared grid (`SHARED`) has. For every other grid, the command prints the
missing cells and the command that makes them. Modules of this folder that have GRID, TITLE and draw are found by
themselves. Scaling is no grid: it is drawn where it was measured. All records are written as one table, records.csv,
and what was drawn as one page, report.html.
"""

import importlib
import json
import os
import pkgutil
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

import paper_figures
from bench.spec.arguments import Results, Training, Which, flags, only, selection_of, suite_of, variant_of
from bench.spec.contenders import Suite
from bench.spec.grids.catalogue import ALL, NoCellsError, cells_of, get_cells, grid_names
from bench.spec.grids.registry import GRIDS
from bench.spec.measurements import AnyCell
from bench.spec.selection import Selection
from bench.store.own_images import read_own
from bench.store.prices import resolved
from bench.store.records import Record, Store
from bench.store.table import as_csv, load
from bench.system.command_line import Group, parse, run
from bench.system.errors import BadInputError
from bench.system.files import read_if_there, write_json, write_text
from paper_figures.beyond import scaling
from paper_figures.evidence.gather import Evidence
from paper_figures.report import page
from paper_figures.report.parts import Part, part

SHARED = ("smoothing", "compute")  # their cells are in other grids too, as what those are compared with
SHOWN = 3  # missing cells that are named one by one


@dataclass(frozen=True)
class Drawn(Which):
    """Which cells are drawn."""

    grid: Annotated[
        tuple[str, ...], tyro.conf.arg(help=f"Draw what belongs to these grids: some of {', '.join(grid_names())}.")
    ] = (ALL,)
    print_table: bool = False
    """Print the main table of each grid."""


@dataclass(frozen=True)
class Drawing(Results):
    """Where records lie, and where they are drawn."""

    out: Path | None = None
    """Folder for tables and figures, with one of its own for each suite. Default: beside the records."""


@dataclass(frozen=True)
class Arguments:
    """Redraw tables and figures from the records of a suite."""

    what: Group[Drawn] = Drawn()
    """Cells to draw."""
    training: Group[Training] = Training()
    """Training of the contenders."""
    places: Group[Drawing] = Drawing()
    """Folders."""


def drawables() -> list[ModuleType]:
    """The modules that draw something, by name."""
    found = pkgutil.walk_packages(paper_figures.__path__, "paper_figures.")
    modules = [importlib.import_module(name) for name in sorted(module.name for module in found)]
    return [module for module in modules if hasattr(module, "GRID") and hasattr(module, "draw")]


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv, first="--grid")
    what, training = arguments.what, arguments.training
    which = only(Which, what)
    own = read_own(arguments.places.results, which.suite)
    suite, variant = suite_of(which, training, own), variant_of(which, training, own)
    store = Store(arguments.places.results, suite.name)
    selection = resolved(selection_of(which, training), store, suite)
    modules = drawables()
    kept: dict[str, Record] = {}
    parts: list[Part] = []
    undrawn: list[Evidence] = []
    out = arguments.places.out and arguments.places.out / suite.name
    environments = (out or store.root) / variant / "environment.json"
    known = _known(environments)
    shared = {cell.key for grid in SHARED for cell in _cells(grid, suite, selection, ALL in what.grid)}
    if ALL not in what.grid:
        cells_of(what.grid, suite, selection)  # bad input comes first
    shown = what.grid[0] if ALL not in what.grid else SHARED[0]
    if not any(store.root.glob("records/*.json")):
        raise BadInputError(
            f"no records in {store.root.resolve()}: give --results, or make them with python {_script()} --grid "
            f"{shown} --results {shlex.quote(str(arguments.places.results))}"
        )
    grids = list(dict.fromkeys(module.GRID for module in modules))
    for grid in sorted(grids, key=lambda grid: grid == ALL):  # claims last
        wanted = not {grid, ALL}.isdisjoint(what.grid)
        command = shlex.join(
            ["python", "bench/run_grid.py", "--grid", grid, *flags(which, training, only(Results, arguments.places))]
        )
        if not (cells := _cells(grid, suite, selection, wanted)):
            continue
        evidence = Evidence(suite.name, grid, cells, store, command, variant, selection, suite, out)
        try:
            records = evidence.kept
        except BadInputError:
            if wanted:
                raise
            continue  # a damaged record of another grid
        gpu = grid in GRIDS and GRIDS[grid].gpu
        if wanted and (records or not gpu or grid in what.grid):  # nobody has to have a GPU
            _report_absent(evidence)
        if not records or not _compares(evidence, shared):
            undrawn.append(evidence)
            continue
        kept |= records
        for module in (m for m in modules if wanted and grid == m.GRID):
            if written := module.draw(evidence):
                parts.append(part(module, module.TITLE, evidence, written))
                print(f"{module.TITLE}: {', '.join(str(path) for path in written)}")
            if what.print_table and hasattr(module, "table_text"):
                print(f"\n{evidence.caption or module.TITLE}\n\n{module.table_text(evidence)}\n")
    if ALL in what.grid and (written := scaling.draw(arguments.places.results / "performance")):
        print(f"{scaling.TITLE}: {', '.join(str(path) for path in written)}")
    if ALL in what.grid:
        rows = load(store.root)
        write_text((out or store.root) / "records.csv", as_csv(rows))
        if (report := page.write(parts, undrawn, rows)) is not None:
            print(f"Report: {report}")
    # Of all grids, whichever is drawn. What is known stays: records that are absent here were made in it.
    if new := [environment for environment in _environments(kept.values()) if environment not in known]:
        write_json(environments, known + new)
    return 0


def _script() -> str:
    """The path of run_grid.py from here, as a command would name it."""
    return os.path.relpath(Path(__file__).parents[1] / "bench" / "run_grid.py")


def _known(path: Path) -> list[dict[str, Any]]:
    """The environments that are kept already. BadInputError if the file is damaged."""
    if (content := read_if_there(path)) is None:
        return []
    try:
        known = json.loads(content)
        if not isinstance(known, list):
            raise ValueError("not a list")
    except ValueError as error:
        raise BadInputError(f"{path} is damaged ({error}): restore it, or delete it to have it made anew") from error
    return known


def _environments(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The different environments of records, in the order in which they were first used."""
    unique: list[dict[str, Any]] = []
    for record in sorted(records, key=lambda record: (record.finished_at, record.key)):
        if record.environment not in unique:
            unique.append(record.environment)
    return unique


def _cells(grid: str, suite: Suite, selection: Selection, wanted: bool = True) -> list[AnyCell]:
    """A grid's cells; none where the selection leaves none, or if others are drawn and it cannot have any."""
    try:
        return get_cells(grid, suite, selection)
    except BadInputError as error:
        if wanted and not isinstance(error, NoCellsError):
            raise
        return []


def _compares(evidence: Evidence, shared: set[str]) -> bool:
    """Whether there is a record of the cells that a grid has to itself, if it has any. Claims need none (`all`)."""
    if evidence.grid == ALL:
        return True
    own = {cell.key for cell in evidence.cells} - shared
    return not own or not own <= evidence.absent.keys()


def _report_absent(evidence: Evidence) -> None:
    """Name the cells that are missing, and the command that makes them: one command for one cell, or for all."""
    absent, command = evidence.absent, evidence.command.replace("bench/run_grid.py", _script(), 1)
    if not absent or (evidence.grid == ALL and len(absent) > SHOWN):  # each grid has named its own
        return
    print(f"{evidence.grid}: {len(absent)} of {len(evidence.cells)} cells missing. Made by: {command}")
    for key, line in list(absent.items())[:SHOWN]:
        print(f"  {line}. Made by: {command} --only {key}")
    if len(absent) > SHOWN:
        print(f"  and {len(absent) - SHOWN} more")


if __name__ == "__main__":
    sys.exit(run(main))
