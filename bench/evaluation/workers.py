"""Cells in parallel: worker processes that evaluate one cell at a time and write its record themselves.

Several commands may evaluate one grid at once, on one machine or a cluster: the process that holds a cell's lock
evaluates it, and the others read its record.
"""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.connection import Connection

import torch

from bench.evaluation.evaluator import Evaluator, make_record
from bench.evaluation.kinds import Inputs, StoppedError
from bench.machine.devices import usable_cores
from bench.sampling.setting import Setting
from bench.spec.measurements import AnyCell
from bench.store.records import Record
from bench.system.children import end_with_parent, watched
from bench.system.errors import BadInputError
from bench.system.files import utc_now
from bench.system.locks import hold
from bench.system.malloc import keep_freed_memory
from bench.system.signals import tell


class CellWorker:
    """Evaluates cells that no other process is evaluating."""

    def __init__(self, setting: Setting) -> None:
        self._setting, self._evaluator = setting, Evaluator(setting)

    def evaluate(self, cell: AnyCell, wait: bool = False) -> Record | None:
        """The cell's record. While another process evaluates it: None, or with `wait` the record once it is there.

        Raises:
            StoppedError: the evaluation was asked to stop.
        """
        if self._setting.stopping():  # it was in the pool's queue already
            raise StoppedError
        store = self._setting.store
        with hold(store.lock_path(cell), wait) as held:
            if not held:
                return None
            record = store.current(cell)
            if record is not None and record.finished_at > self._setting.since:
                return record
            return self._evaluator.evaluate(cell)


class StuckError(BrokenProcessPool):
    """A worker process was killed because it was stuck (`bench.system.children.watched`)."""


_worker: CellWorker | None = None


def _start(setting: Setting, threads: int, stop: Connection, ready: Connection) -> None:
    global _worker
    end_with_parent()  # a killed parent must not leave workers behind
    for number in (signal.SIGINT, signal.SIGUSR2):  # the parent handles them; batches under way are finished
        signal.signal(number, signal.SIG_IGN)
    keep_freed_memory()
    torch.set_num_threads(threads)
    _worker = CellWorker(replace(setting, stopping=stop.poll))
    ready.send_bytes(b"ready")


def _evaluate(cell: AnyCell, wait: bool) -> bool:
    """Whether the cell has its record. The parent reads it from disk: a worker may be killed while it sends much."""
    assert _worker is not None
    return _worker.evaluate(cell, wait) is not None


def in_order(cells: Sequence[AnyCell]) -> list[AnyCell]:
    """Expensive cells first, so that the last ones to finish are short; cells that run alone come last."""
    return sorted(cells, key=lambda cell: (cell.alone, -cell.work))


def evaluate_all(
    cells: Sequence[AnyCell], setting: Setting, apart: bool = False, threads: int | None = None
) -> Iterator[Record]:
    """Evaluate cells `in_order`, yielding records as they are written. On a CPU, workers share its threads.

    Cells that other processes are evaluating come last, and their records are waited for. If a worker dies, each of the
    remaining cells gets a process of its own; a cell whose process dies gets a record that says so.

    Args:
        cells: the cells to evaluate.
        setting: the setting of the evaluation; `since` is now by default.
        apart: run even a single worker as a process of its own, so that its death ends one cell only.
        threads: torch's threads of each worker process; by default its share of the usable cores.
    """
    setting = replace(setting, since=setting.since or utc_now())
    left = {cell.key: cell for cell in in_order(cells)}
    if setting.workers == 1 and not apart:  # not for fewer cells: times depend on workers
        worker = CellWorker(setting)
        for wait in (False, True):
            for cell in list(left.values()):
                if (record := worker.evaluate(cell, wait)) is not None:
                    del left[cell.key]
                    yield record
        return
    threads = threads or max(1, usable_cores() // setting.workers)
    try:
        for wait in (False, True):
            together = [cell for cell in left.values() if not cell.alone]
            for record in _in_pool(together, setting, threads, wait):
                del left[record.key]
                yield record
    except BrokenProcessPool:
        pass
    for cell in left.values():
        whole = getattr(cell, "whole_machine", not cell.alone)
        try:
            yield from _in_pool([cell], replace(setting, workers=1), usable_cores() if whole else threads, wait=True)
        except StuckError:
            yield lost(cell, setting, "timeout", "its process was stuck for an hour, without any CPU time")
        except BrokenProcessPool:
            yield lost(cell, setting, "oom", "its process was killed, most likely for memory")


def lost(cell: AnyCell, setting: Setting, status: str, reason: str) -> Record:
    """Write and return the record of a cell whose process ended without writing one."""
    training = None if cell.run is None else setting.store.read_training(cell.run)
    inputs = Inputs(cell, None, "" if training is None else training["digest"])
    record = make_record(cell, setting.device, inputs, status, reason)
    setting.store.write(record)
    return record


def _in_pool(cells: Sequence[AnyCell], setting: Setting, threads: int, wait: bool) -> Iterator[Record]:
    if not cells:
        return
    context = multiprocessing.get_context("spawn")
    # Pipes, as an event has a lock, which a killed worker would keep. Workers stop when the parent closes its end.
    (stop, going_on), (begun, ready) = context.Pipe(duplex=False), context.Pipe(duplex=False)
    with stop, going_on, begun, ready:
        try:
            pool = ProcessPoolExecutor(
                setting.workers, mp_context=context, initializer=_start, initargs=(setting, threads, stop, ready)
            )
        except (OSError, ImportError) as error:
            raise BadInputError(
                f"/dev/shm: processes cannot share a lock there ({error}); give it some space, or evaluate in one "
                "process with --workers 1"
            ) from error
        try:
            futures = {pool.submit(_evaluate, cell, wait): cell for cell in cells}
            with watched(multiprocessing.active_children()) as stuck:
                try:
                    for future in as_completed(futures):
                        if future.result() and (record := setting.store.read(futures[future])) is not None:
                            yield record
                except BrokenProcessPool as error:
                    if stuck:
                        raise StuckError from error
                    raise
                except KeyboardInterrupt:
                    tell("finishing the batches under way; Ctrl-C again ends at once")
                    raise
                finally:
                    going_on.close()  # done or interrupted: the next command goes on with quality cells under way
                    try:
                        pool.shutdown(wait=True, cancel_futures=True)
                    except KeyboardInterrupt:  # asked twice
                        for child in multiprocessing.active_children():
                            child.kill()
                        raise
        except BrokenProcessPool as error:
            if setting.workers > 1 or begun.poll():
                raise
            raise BadInputError(
                "a worker process ended before it began, most likely for memory (its own messages are above): run the "
                "same command again, or with --workers 1"
            ) from error
