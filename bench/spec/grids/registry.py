"""Registry of grids: the decorator `grid` adds a function that lists a grid's cells."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.spec.contenders import Suite
from bench.spec.measurements import AnyCell
from bench.spec.selection import Selection

Enumerate = Callable[[Suite, Selection], list[AnyCell]]


@dataclass(frozen=True)
class Grid:
    """One experiment.

    Attributes:
        name: in `--grid`.
        shows: the paper's figure or table that it is for, e.g. "Figures 4, 5", or "beyond the paper".
        varies: what it varies, for the table of grids.
        cells: enumerates its cells.
        gpu: whether it is for a GPU only; such a grid is not part of "all".
    """

    name: str
    shows: str
    varies: str
    cells: Enumerate
    gpu: bool = False


GRIDS: dict[str, Grid] = {}


def grid(shows: str, varies: str, gpu: bool = False) -> Callable[[Enumerate], Enumerate]:
    """Register the decorated function as the grid of its name, hyphens for underscores."""

    def register(cells: Enumerate) -> Enumerate:
        name = cells.__name__.replace("_", "-")
        if name in GRIDS:
            raise ValueError(f"grid {name!r} is registered already")
        GRIDS[name] = Grid(name, shows, varies, cells, gpu)
        return cells

    return register
