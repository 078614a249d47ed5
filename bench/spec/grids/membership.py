"""Which grids a cell belongs to, and which accounts ask for it."""

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace

from bench.spec.accounts import ACCOUNTS
from bench.spec.cells import Cell
from bench.spec.contenders import Suite
from bench.spec.grids.catalogue import get_cells
from bench.spec.grids.registry import GRIDS
from bench.spec.selection import Selection
from bench.system.errors import BadInputError

IN_EVERY_ACCOUNT = "accounts"  # the grid that has the cells of all accounts, whichever is selected


@dataclass(frozen=True)
class Membership:
    """The grids of a cell, and the accounts in which one of them has it; in registered order."""

    grids: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


def memberships(suite: Suite, selection: Selection) -> dict[str, Membership]:
    """The membership of each cell of the suite's grids, by key, whichever account is selected.

    An account that is not calibrated, or a grid without cells in an account, adds none.
    """
    grids: dict[str, dict[str, None]] = defaultdict(dict)
    accounts: dict[str, dict[str, None]] = defaultdict(dict)
    for account in ACCOUNTS:
        counted = replace(selection, account=account)
        for grid in GRIDS:
            with suppress(BadInputError):
                for cell in get_cells(grid, suite, counted):
                    grids[cell.key][grid] = None
                    if isinstance(cell, Cell) and grid != IN_EVERY_ACCOUNT:
                        accounts[cell.key][account] = None
    ordered = {key: tuple(grid for grid in GRIDS if grid in names) for key, names in grids.items()}
    return {key: Membership(names, tuple(accounts[key])) for key, names in ordered.items()}
