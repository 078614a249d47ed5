"""Progress bar of cells on standard error: finished cells, and the finished batches of cells under way."""

import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

from bench.spec.measurements import AnyCell
from bench.store.records import Record, Store
from bench.system.progress import interval_s

_FORM = "evaluate  : {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class CellsBar:
    """A bar in units of `cell.work`; a thread updates it by the cells under way.

    Args:
        cells: the cells to be evaluated.
        store: where their records and finished batches appear.
    """

    def __init__(self, cells: Sequence[AnyCell], store: Store) -> None:
        self._store, self._total = store, len(cells)
        self._left = {cell.key: cell for cell in cells}
        self._done_work = self._done = 0
        self.failed = 0
        work = sum(cell.work for cell in cells)
        self._bar = tqdm(total=work, bar_format=_FORM, mininterval=interval_s(), disable=not cells)
        self._end, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._bar.close()

    def ended(self, record: Record) -> None:
        """Count a cell that has its record; print the reason if it is not done."""
        cell = record.cell
        what = " ".join(str(cell[name]) for name in ("measure", "model", "budget") if cell[name])
        what += f" k={cell['iterations']}" if cell["iterations"] else ""
        if record.status == "done":
            what += f" FD {record.metrics['fid']:.3g}" if "fid" in record.metrics else ""
        else:
            self.failed += record.status != "skipped"
            self._bar.write(f"{what}: {record.status}, {record.reason}", file=sys.stderr)
        with self._lock:
            self._done_work += self._left.pop(record.key).work
            self._done += 1
            self._bar.set_postfix_str(f"{self._done}/{self._total} cells, {what}", refresh=False)
            self._show()

    def _watch(self) -> None:
        while not self._end.wait(interval_s()):
            with self._lock:
                self._show()

    def _show(self) -> None:
        under_way = sum(cell.work * self._store.fraction_done(cell) for cell in self._left.values())
        self._bar.update(self._done_work + under_way - self._bar.n)
