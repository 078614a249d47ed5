"""Cells in parallel: worker processes that evaluate one cell at a time and write its record themselves.

Several runs of one grid may go on at once, on one machine or a cluster: whoever holds a cell's lock evaluates it, and
the others take its record.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Event

import torch

from bench.evaluation.evaluator import Evaluator, make_record
from bench.evaluation.quality import StoppedError
from bench.spec.assets import Assets
from bench.spec.measurements import AnyCell, Speed
from bench.store.records import Record, Store
from bench.system.children import end_with_parent
from bench.system.environment import usable_cores
from bench.system.execution import EAGER, Execution
from bench.system.files import utc_now
from bench.system.locks import hold


@dataclass(frozen=True)
class Setting:
    """What workers evaluate with; as for `Evaluator`.

    `since` is the time, UTC in ISO 8601, after which a record is one that another process has just written.
    """

    store: Store
    device: torch.device
    workers: int
    execution: Execution
    assets: Assets
    since: str


class CellWorker:
    """Evaluates cells that no other process is evaluating."""

    def __init__(self, setting: Setting, stopping: Callable[[], bool] = lambda: False) -> None:
        self._store, self._since, self._stopping = setting.store, setting.since, stopping
        self._evaluator = Evaluator(
            setting.store, setting.device, setting.workers, setting.execution, setting.assets, stopping
        )

    def evaluate(self, cell: AnyCell, wait: bool = False) -> Record | None:
        """The cell's record; None, unless one is to `wait`, if another process is busy with it.

        Raises:
            StoppedError: it was asked to stop.
        """
        if self._stopping():  # it was in the pool's queue already
            raise StoppedError
        with hold(self._store.lock_path(cell), wait) as held:
            if not held:
                return None
            record = self._store.current(cell)
            if record is not None and record.finished_at > self._since:
                return record
            return self._evaluator.evaluate(cell)


_worker: CellWorker | None = None


def _start(setting: Setting, threads: int, stop: Event) -> None:
    global _worker
    end_with_parent()  # a killed parent must not leave workers behind
    for number in (signal.SIGINT, signal.SIGUSR2):  # the parent's to answer; batches under way are finished
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(threads)
    _worker = CellWorker(setting, stop.is_set)


def _evaluate(cell: AnyCell, wait: bool) -> Record | None:
    assert _worker is not None
    return _worker.evaluate(cell, wait)


def in_order(cells: Sequence[AnyCell]) -> list[AnyCell]:
    """Expensive cells first, so that the last ones to finish are short; speed at the end, with nothing beside it."""
    return sorted(cells, key=lambda cell: (isinstance(cell, Speed), -cell.work))


def evaluate_all(
    cells: Sequence[AnyCell],
    store: Store,
    device: torch.device,
    workers: int,
    execution: Execution = EAGER,
    assets: Assets = Assets(),  # noqa: B008, it is frozen
    apart: bool = False,
    since: str | None = None,
) -> Iterator[Record]:
    """Evaluate cells `in_order`, yielding records as they are written. On a CPU, workers share out its threads.

    What other processes are evaluating comes last: their records are waited for. If a worker dies, the cells that are
    left are evaluated in a process each, and one whose process dies again gets a record that says so.

    Args:
        cells: what to evaluate.
        store, device, execution, assets: as for `Evaluator`.
        workers: processes side by side.
        apart: also a single worker is a process of its own, so that its death is that of a cell only.
        since: when it was found out that these cells are to be evaluated (`utc_now`); now by default. A record from
            then on is another process's, and taken.
    """
    setting = Setting(store, device, workers, execution, assets, since or utc_now())
    left = {cell.key: cell for cell in in_order(cells)}
    if workers == 1 and not apart:  # as many as asked for, even for one cell: its times are to be compared
        worker = CellWorker(setting)
        for wait in (False, True):
            for cell in list(left.values()):
                if (record := worker.evaluate(cell, wait)) is not None:
                    del left[cell.key]
                    yield record
        return
    threads = max(1, usable_cores() // workers)
    try:
        for wait in (False, True):
            together = [cell for cell in left.values() if not isinstance(cell, Speed)]
            for record in _in_pool(together, setting, threads, wait):
                del left[record.key]
                yield record
    except BrokenProcessPool:
        pass
    for cell in left.values():
        whole = not isinstance(cell, Speed) or cell.whole_machine
        alone = replace(setting, workers=1)
        try:
            yield from _in_pool([cell], alone, usable_cores() if whole else threads, wait=True)
        except BrokenProcessPool:
            yield lost(cell, store, device, "oom", "its process was killed, most likely for memory")


def lost(cell: AnyCell, store: Store, device: torch.device, status: str, reason: str) -> Record:
    """Write, and return, the record of a cell whose process did not come to write one."""
    training = None if cell.run is None else store.read_training(cell.run)
    record = make_record(cell, device, "" if training is None else training["digest"], status, reason)
    store.write(record)
    return record


def _in_pool(cells: Sequence[AnyCell], setting: Setting, threads: int, wait: bool) -> Iterator[Record]:
    if not cells:
        return
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(
        setting.workers, mp_context=context, initializer=_start, initargs=(setting, threads, stop)
    )
    try:
        for future in as_completed([pool.submit(_evaluate, cell, wait) for cell in cells]):
            if (record := future.result()) is not None:
                yield record
    finally:
        stop.set()  # all is done, or has to end: quality cells under way go on with the next run
        pool.shutdown(wait=True, cancel_futures=True)
