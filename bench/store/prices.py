"""Calibrated seconds and the reference of a results folder, added to a selection."""

from dataclasses import replace

from bench.spec.accounts import Prices
from bench.spec.contenders import Suite
from bench.spec.grids.catalogue import ALL
from bench.spec.measurements import calibration
from bench.spec.selection import Selection
from bench.store.records import Store
from bench.store.references import read_reference
from bench.system.errors import BadInputError

PARTS = ("iteration", "block", "bare block", "binding")  # names of `Family.parts` that may be priced


def kept_prices(store: Store, suite: Suite) -> Prices | None:
    """The suite's prices, as its calibration record has them; None without one. BadInputError if it is damaged."""
    cell = calibration(suite)
    record = store.read(cell)
    if record is None or record.status != "done":
        return None
    try:
        steps_s = {name: record.metrics[f"{name}_step_s"] for name in cell.configs}
        names = {name: f"{name.replace(' ', '_')}_s" for name in PARTS}
        parts_s = {name: record.metrics[key] for name, key in names.items() if key in record.metrics}
        return Prices(cell.configs, cell.batch_size, record.environment["hardware"], steps_s, parts_s)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"calibration {store.record_path(cell)} is damaged ({error!r}): delete it to have it measured again"
        ) from error


def resolved(selection: Selection, store: Store, suite: Suite) -> Selection:
    """The selection with prices, if the results folder has a calibration, and with the reference, if it has one."""
    return replace(selection, prices=kept_prices(store, suite), reference=read_reference(store.root))


def needs_prices(selection: Selection, grid: str, suite: Suite) -> bool:
    """Whether the selected part of a grid has cells whose number of steps depends on calibrated seconds."""
    priced = [one for one in suite.chosen(selection.models) if one != suite.baseline]
    return bool(priced) and (selection.account == "seconds" or grid in ("accounts", ALL))
