"""Cells in parallel: worker processes that evaluate one cell at a time and write its record themselves."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import torch

from bench.environment import usable_cores
from bench.evaluate import Evaluator, make_record
from bench.execution import EAGER, Execution
from bench.measurements import AnyCell, Speed
from bench.store import Record, Store

_evaluator: Evaluator | None = None


def _start(store: Store, device: torch.device, workers: int, execution: Execution, threads: int, parent: int) -> None:
    global _evaluator

    def watch() -> None:  # a killed parent must not leave workers behind
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; cells under way are finished
    torch.set_num_threads(threads)
    _evaluator = Evaluator(store, device, workers, execution)


def _evaluate(cell: AnyCell) -> Record:
    assert _evaluator is not None
    return _evaluator.evaluate(cell)


def evaluate_all(
    cells: Sequence[AnyCell], store: Store, device: torch.device, workers: int, execution: Execution = EAGER
) -> Iterator[Record]:
    """Evaluate cells, yielding records as they are written. Threads are shared out among the workers on a CPU.

    Expensive cells go first, so that the last ones to finish are short. Speed is measured at the end, with nothing
    beside it. If a worker dies, the cells that are left are evaluated in a process each, and one whose process dies
    again gets a record that says so.
    """
    order = sorted(cells, key=lambda cell: (isinstance(cell, Speed), -cell.work))
    if workers == 1:  # as many as asked for, even for one cell: its times are to be compared
        yield from map(Evaluator(store, device, execution=execution).evaluate, order)
        return
    threads = max(1, usable_cores() // workers)
    left = {cell.key: cell for cell in order if not isinstance(cell, Speed)}
    try:
        for record in _in_pool(list(left.values()), store, device, workers, execution, threads):
            del left[record.key]
            yield record
    except BrokenProcessPool:
        pass
    alone = [*left.values(), *(cell for cell in order if isinstance(cell, Speed))]
    for cell in alone:
        whole = not isinstance(cell, Speed) or cell.whole_machine
        try:
            yield from _in_pool([cell], store, device, 1, execution, usable_cores() if whole else threads)
        except BrokenProcessPool:
            training = None if cell.run is None else store.read_training(cell.run)
            digest = "" if training is None else training["digest"]
            record = make_record(cell, device, digest, "oom", "its process was killed, most likely for memory")
            store.write(record)
            yield record


def _in_pool(
    cells: Sequence[AnyCell], store: Store, device: torch.device, workers: int, execution: Execution, threads: int
) -> Iterator[Record]:
    if not cells:
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(store, device, workers, execution, threads, os.getpid()),
    )
    try:
        for future in as_completed([pool.submit(_evaluate, cell) for cell in cells]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
