"""Cells in parallel: worker processes that evaluate one cell at a time and write its record themselves."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch

from bench.cells import Cell
from bench.evaluate import Evaluator
from bench.store import Record, Store

_evaluator: Evaluator | None = None


def _start(store: Store, device: torch.device, workers: int, threads: int, parent: int) -> None:
    global _evaluator

    def watch() -> None:  # a killed parent must not leave workers behind
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    torch.set_num_threads(threads)
    _evaluator = Evaluator(store, device, workers)


def _evaluate(cell: Cell) -> Record:
    assert _evaluator is not None
    return _evaluator.evaluate(cell)


def default_workers(device: torch.device) -> int:
    """One per core on a CPU, up to 8: small networks gain more from cells side by side than from threads. Else 1."""
    return min(os.cpu_count() or 1, 8) if device.type == "cpu" else 1


def evaluate_all(cells: Sequence[Cell], store: Store, device: torch.device, workers: int) -> Iterator[Record]:
    """Evaluate cells, yielding records as they are written. Threads are shared out among the workers on a CPU.

    Expensive cells go first, so that the last ones to finish are short.
    """
    ordered = sorted(cells, key=lambda cell: -cell.macs)
    workers = max(1, min(workers, len(ordered)))
    threads = max(1, (os.cpu_count() or 1) // workers)
    if workers == 1:
        evaluator = Evaluator(store, device)
        for cell in ordered:
            yield evaluator.evaluate(cell)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(store, device, workers, threads, os.getpid()),
    )
    try:
        for future in as_completed([pool.submit(_evaluate, cell) for cell in ordered]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
