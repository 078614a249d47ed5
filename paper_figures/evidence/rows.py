"""Rows of a grid: its cells, and their records as a data frame.

Cells are enumerated first and records are looked up by their keys, so a table or figure cannot mix protocols.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from bench.spec.accounts import Account
from bench.spec.cells import CELL_COLUMNS, Cell
from bench.spec.contenders import Contender, Suite
from bench.spec.measurements import AnyCell, Floor
from bench.spec.metrics import SECOND_METRICS
from bench.spec.selection import Selection, replicates
from bench.spec.suites import get_suite
from bench.store.records import Record, Store
from bench.system.errors import BadInputError

METRICS = ("fid", "kid", "kid_subset_std")
PARTS = ("fid_quarter", "fid_half", "fid_limit")  # FD of parts of the images; absent from older records
SHARES = ("precision", "recall")  # absent from older records, as are the peaks below
SECOND = tuple(metric.name for metric in SECOND_METRICS.values())  # in features of a second extractor, where measured
COSTS: dict[str, tuple[str, Any]] = {  # column -> name in records, value where it is absent
    "spent": ("block_passes", np.nan),
    "executed": ("executed_block_passes", np.nan),
    "comparable": ("comparable", True),
}
TIMES = ("images_per_s", "latency_s", "search_s")
PEAKS = ("host_peak_gib", "device_peak_gib")


def _timing(record: Record) -> dict[str, Any]:
    """A record's times and peak memory, and the machine and load that they were taken under; nothing if it diverged."""
    timing = record.timing
    if not timing:
        return {}
    where = f"{record.environment['hardware']}; {timing['threads']:.0f} thread(s) a cell, "
    where += f"{timing['workers']:.0f} cell(s) side by side"
    if execution := record.environment.get("execution"):
        where += f", {execution}"
    peaks = {name: timing[name] for name in PEAKS if name in timing}
    return peaks | {name: timing.get(name, 0.0) for name in TIMES} | {"timed_on": where}


@dataclass(frozen=True)
class Rows:
    """A grid's cells and their records.

    Attributes:
        suite: name of the suite.
        grid: name of the grid.
        cells: the cells of the grid.
        store: of their records.
        command: the command that makes the missing records.
        variant: subfolder for what is drawn of other cells than the suite's default ones.
        selection: the part of the grid that was asked for, with its account and prices.
        out: where tables and figures go, if not beside the records.
        sized: the suite, if it was asked for with networks or a batch of another size than its own.
    """

    suite: str
    grid: str
    cells: Sequence[AnyCell]
    store: Store
    command: str
    variant: str = ""
    selection: Selection = field(default_factory=Selection)
    sized: Suite | None = None
    out: Path | None = None

    @property
    def compared(self) -> Suite:
        """The suite as it was sized: its baseline, subject and other contenders."""
        return self.sized or get_suite(self.suite)

    @cached_property
    def contenders(self) -> list[Contender]:
        """Baseline, subject, and the others that there are quality records of, in the suite's order."""
        suite = self.compared
        shown = {suite.baseline_name, suite.subject_name, *self.frame.model}
        return [one for one in suite.contenders if one.name in shown]

    @cached_property
    def kept(self) -> dict[str, Record]:
        """The cells' current records, by key."""
        return {cell.key: record for cell in self.cells if (record := self.store.current(cell)) is not None}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row for each quality cell that is done or diverged: cell, metrics (infinite if it diverged), cost, timing.

        Raises:
            BadInputError: records of one frame were made with different references or extractors.
        """
        return self._framed(self._of_replicates)

    @property
    def every_sample(self) -> pd.DataFrame:
        """As `frame`, with the further sampling seeds that the grid `panel` has."""
        return self._framed(lambda cell: True)

    def _framed(self, chosen: Callable[[Cell], bool]) -> pd.DataFrame:
        """The rows of `frame` of the cells that `chosen` picks."""
        records = self.records("quality", ("done", "diverged"))
        found = [(cell, record) for cell, record in records if isinstance(cell, Cell) and chosen(cell)]
        for name in ("reference", "extractor", "second_reference", "second_extractor"):
            if len(digests := {record.inputs[name] for _, record in found if name in record.inputs}) > 1:
                raise BadInputError(
                    f"records of {self.grid} have different {name}s ({', '.join(digests)}): evaluate again"
                )
        rows: list[dict[str, Any]] = []
        for cell, record in found:
            lost = (*METRICS, *(SECOND if "second_extractor" in record.inputs else ()))
            quality = record.metrics if record.status == "done" else dict.fromkeys(lost, np.inf)
            cost = {name: record.cost.get(key, absent) for name, (key, absent) in COSTS.items()}
            rows.append(cell.row() | quality | cost | _timing(record))
        measured = [*METRICS, *PARTS, *SHARES, *SECOND, *COSTS, *TIMES, *PEAKS, "timed_on"]
        frame = pd.DataFrame(rows, columns=[*CELL_COLUMNS, *measured])
        if len(frame) and frame.timed_on.nunique() > 1:  # times of different machines are never merged
            frame[list(TIMES)] = float("nan")
        return frame

    @staticmethod
    def _of_replicates(cell: Cell) -> bool:
        """Whether a cell has its training's own sampling seed, unlike most cells of the grid `panel`."""
        return cell.seed == cell.run.seed or cell.run.elsewhere is not None

    @cached_property
    def floor(self) -> dict[str, float]:
        """Metrics of real images that nothing was trained on; empty without a record."""
        return next((record.metrics for _, record in self.records("floor")), {})

    @property
    def floor_images(self) -> int:
        """How many images the floor is of: as many as cells have samples, or half as many; 0 without a record."""
        return next((cell.protocol.samples for cell, _ in self.records("floor") if isinstance(cell, Floor)), 0)

    @property
    def replicates(self) -> list[int]:
        """Seeds of the replicates that there are records of; a seed of its own, if the grid has no other."""
        found = sorted(set(self.frame.seed))
        return [seed for seed in found if seed in replicates(self.compared, self.selection)] or found

    @cached_property
    def asked(self) -> pd.DataFrame:
        """A row for each quality cell of the grid, with or without a record; further sampling seeds are left out."""
        rows = [cell.row() for cell in self.quality if self._of_replicates(cell)]
        return pd.DataFrame(rows, columns=list(CELL_COLUMNS))

    def records(self, measure: str, statuses: Sequence[str] = ("done",)) -> Iterator[tuple[AnyCell, Record]]:
        """The cells of this measure with a record of one of these statuses."""
        for cell in self.cells:
            record = self.kept.get(cell.key)
            if record is not None and cell.measure == measure and record.status in statuses:
                yield cell, record

    def images(self, **wanted: Any) -> list[tuple[Cell, np.ndarray]]:
        """Kept images, uint8 (count, channels, size, size), of the cells whose row has these values."""
        return [
            (cell, self.store.read_images(cell, record))
            for cell, record in self.records("images")
            if isinstance(cell, Cell) and all(cell.row()[name] == value for name, value in wanted.items())
        ]

    @property
    def absent(self) -> dict[str, str]:
        """A line by key for each cell that has no record that is done or diverged; a divergence is a result."""
        lines = {}
        for cell in self.cells:
            record = self.kept.get(cell.key)
            if record is None or record.status not in ("done", "diverged"):
                state = "no record" if record is None else f"{record.status}, {record.reason}"
                lines[cell.key] = f"{cell}: {state}"
        return lines

    @property
    def missing(self) -> str:
        """A sentence with the number of missing cells; empty if there is none."""
        absent = len(self.absent)
        return f"{self.suite}: {absent} of {len(self.cells)} cells have no result yet." if absent else ""

    def path(self, kind: str, name: str) -> Path:
        """The path of a file to write; makes its folder. `kind` is "tables", "figures" or, for the root, empty."""
        folder = (self.out or self.store.root) / self.variant / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    @property
    def quality(self) -> list[Cell]:
        """The grid's quality cells, with or without a record."""
        return [cell for cell in self.cells if isinstance(cell, Cell) and cell.measure == "quality"]

    @property
    def account(self) -> Account:
        """The account that budgets are counted in."""
        return self.selection.accounting

    @property
    def unit(self) -> str:
        """The unit of budgets: in other accounts than the paper's, block passes of the baseline only."""
        return "block passes" if self.account.name == "blocks" else f"{self.compared.baseline.label} passes"

    @cached_property
    def accounted(self) -> Self:
        """The evidence without cells of other accounts, which the grid `accounts` has."""
        yardstick, account = self.compared.baseline.config, self.account
        own = [cell for cell in self.cells if not isinstance(cell, Cell) or account.buys(yardstick, cell)]
        return self if len(own) == len(self.cells) else replace(self, cells=own)
