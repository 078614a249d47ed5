"""All grids, and the cells of one of them or of all."""

from collections.abc import Sequence

from bench.spec.contenders import Suite
from bench.spec.grids import beyond, controls, paper  # noqa: F401, they register their grids
from bench.spec.grids.registry import GRIDS
from bench.spec.measurements import AnyCell, floors
from bench.spec.selection import Selection, protocol
from bench.system.errors import BadInputError

ALL = "all"


class NoCellsError(BadInputError):
    """A grid has no cells for the selected contenders and budgets."""


def grid_names() -> tuple[str, ...]:
    """Values of `--grid`."""
    return (*GRIDS, ALL)


def cells_of(names: Sequence[str], suite: Suite, selection: Selection) -> list[AnyCell]:
    """The cells of several grids, each once. Errors as in `get_cells`."""
    if not names:
        raise BadInputError(f"--grid: name at least one of {', '.join(grid_names())}")
    return list({cell.key: cell for name in names for cell in get_cells(name, suite, selection)}.values())


def get_cells(name: str, suite: Suite, selection: Selection) -> list[AnyCell]:
    """The cells of a grid, each once; for "all", those of every grid that needs no GPU.

    Cells that several grids ask for are the same cells: they have one key, are evaluated once, and their runs are
    trained once.

    Raises:
        BadInputError: unknown grid or contender, or a budget below one step of a contender.
        NoCellsError: the grid has no cells for the selected contenders and budgets.
    """
    if name != ALL and name not in GRIDS:
        raise BadInputError(f"unknown grid {name!r}: choose all or one of {', '.join(GRIDS)}")
    chosen = [grid for grid in GRIDS.values() if not grid.gpu] if name == ALL else [GRIDS[name]]
    found = [cell for grid in chosen for cell in grid.cells(suite, selection)]
    if not found:
        models = (contender.name for contender in suite.chosen(selection.models))
        asked = " ".join(["--models", *models, *(f"--budget {budget}" for budget in selection.budgets or ())])
        raise NoCellsError(f"{asked}: grid {name} has no cells for them")
    if any(cell.measure == "quality" for cell in found):
        found += floors(suite, protocol(suite, selection))
    return list({cell.key: cell for cell in found}.values())
