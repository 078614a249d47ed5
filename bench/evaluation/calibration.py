"""Where the prices of seconds come from: the record of the suite's calibration, measured once. No torch until then."""

from collections.abc import Iterable
from dataclasses import replace

from bench.spec.accounts import Account, Prices
from bench.spec.cells import Cell
from bench.spec.measurements import AnyCell, calibration
from bench.spec.selection import Selection
from bench.spec.suites import Suite
from bench.store.records import Store
from bench.store.references import read_reference
from bench.system.errors import BadInputError

PRICES = ("dit_step_s", "fpdm_step_s", "iteration_s", "block_s")


def kept_prices(store: Store, suite: Suite) -> Prices | None:
    """The suite's prices, as its calibration record has them; None without one. BadInputError if it is damaged."""
    cell = calibration(suite)
    record = store.read(cell)
    if record is None or record.status != "done":
        return None
    try:
        measured = {name: record.metrics[name] for name in PRICES}
        return Prices(cell.dit, cell.fpdm, cell.batch_size, record.environment["hardware"], **measured)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"calibration {store.record_path(cell)} is damaged ({error!r}): delete it to have it measured again"
        ) from error


def resolved(selection: Selection, store: Store, suite: Suite) -> Selection:
    """The selection with what the results folder knows: prices, if calibrated, and the reference, if one was made."""
    return replace(selection, prices=kept_prices(store, suite), reference=read_reference(store.root))


def needs_prices(selection: Selection, grid: str) -> bool:
    """Whether the grid has cells, for what is selected, that seconds decide."""
    return "fpdm" in selection.models and (selection.account == "seconds" or grid in ("accounts", "all"))


def calibrate(store: Store, suite: Suite, device_name: str, workers: int) -> Prices:
    """Measure the suite's prices as its cells are sampled: with the threads of one of so many workers, after warm-up.

    Raises:
        BadInputError: it did not succeed; with the reason.
    """
    from bench.evaluation.workers import evaluate_all
    from bench.system.environment import pick_device

    (record,) = evaluate_all([calibration(suite)], store, pick_device(device_name), workers)
    prices = kept_prices(store, suite)
    if prices is None:
        raise BadInputError(f"seconds cannot be calibrated: {record.status}, {record.reason}")
    return prices


def summary(prices: Prices) -> str:
    """What a calibration found, in one line."""
    step, base, iteration, block = (f"{getattr(prices, name) * 1000:.3g}" for name in PRICES)
    return (
        f"calibrated: a step of DiT takes {step} ms, of FPDM {base} ms and {iteration} ms an iteration, a block "
        f"{block} ms, at batch {prices.batch_size} on {prices.hardware}"
    )


def check_hardware(cells: Iterable[AnyCell], suite: Suite, prices: Prices | None, device_name: str) -> None:
    """Refuse to evaluate cells whose steps follow from another machine's seconds; BadInputError names both."""
    free = Account("blocks"), Account("macs")
    timed = (c for c in cells if isinstance(c, Cell) and not any(one.buys(suite.dit, c) for one in free))
    if prices is None or next(timed, None) is None:
        return
    from bench.system.environment import hardware_name, pick_device

    if (here := hardware_name(pick_device(device_name))) != prices.hardware:
        raise BadInputError(
            f"seconds were calibrated on {prices.hardware}, this is {here}: evaluate these cells there, or calibrate "
            "anew with another --results"
        )
