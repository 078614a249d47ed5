"""Calibration of seconds: measured once for a results folder, and valid only on the same machine."""

from collections.abc import Iterable

from bench.evaluation.workers import evaluate_all
from bench.machine.devices import hardware_name, pick_device
from bench.sampling.setting import Setting
from bench.spec.accounts import Account, Prices
from bench.spec.cells import Cell
from bench.spec.contenders import Suite
from bench.spec.measurements import AnyCell, calibration
from bench.store.prices import kept_prices
from bench.system.errors import BadInputError


def calibrate(suite: Suite, setting: Setting) -> Prices:
    """Measure the suite's prices as its cells are sampled: with the threads of one worker, after warm-up.

    Raises:
        BadInputError: the measurement failed; gives the reason.
    """
    (record,) = evaluate_all([calibration(suite)], setting)
    prices = kept_prices(setting.store, suite)
    if prices is None:
        raise BadInputError(f"seconds cannot be calibrated: {record.status}, {record.reason}")
    return prices


def summary(prices: Prices, suite: Suite) -> str:
    """The seconds of a calibration, in one line."""

    def ms(seconds: float) -> str:
        return f"{seconds * 1000:.3g} ms"

    steps, parts = prices.steps_s, prices.parts_s
    base, subject = suite.baseline, suite.subject
    return (
        f"calibrated: a step of {base.label} takes {ms(steps[base.name])}, of {subject.label} "
        f"{ms(steps[subject.name])} and {ms(parts['iteration'])} an iteration, a block {ms(parts['block'])}, at batch "
        f"{prices.batch_size} on {prices.hardware}"
    )


def check_hardware(cells: Iterable[AnyCell], suite: Suite, prices: Prices | None, device_name: str) -> None:
    """BadInputError, naming both machines, if cells take as many steps as another machine's seconds allow."""
    untimed, yardstick = (Account("blocks"), Account("macs")), suite.baseline.config
    timed = (c for c in cells if isinstance(c, Cell) and not any(one.buys(yardstick, c) for one in untimed))
    if prices is None or next(timed, None) is None:
        return
    if (here := hardware_name(pick_device(device_name))) != prices.hardware:
        raise BadInputError(
            f"seconds were calibrated on {prices.hardware}, this is {here}: evaluate these cells there, or calibrate "
            "anew with another --results"
        )
