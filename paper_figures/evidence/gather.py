"""A grid's records as a data frame: the cells that are asked for, joined with what came of them.

Cells are enumerated first and records looked up by their keys, so a table or figure cannot mix protocols.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.spec.accounts import Account
from bench.spec.cells import CELL_COLUMNS, Cell
from bench.spec.measurements import AnyCell
from bench.spec.selection import Selection
from bench.spec.suites import Suite, get_suite
from bench.store.records import Record, Store
from bench.system.errors import BadInputError
from paper_figures.evidence.intervals import half_width

METRICS = ("fid", "kid", "kid_subset_std")
SHARES = ("precision", "recall")  # older records do not have them
SHARES_NOTE = (
    "Precision: share of samples near a real image; recall: share of real images near a sample (Kynkäänniemi et al. "
    "2019); higher is better."
)
TIMES = ("images_per_s", "latency_s", "search_s")
PEAKS = ("host_peak_gib", "device_peak_gib")  # nor these
FLATTERED = "on the very samples that score it, for want of a second replicate, which flatters FPDM"


def _timing(record: Record) -> dict[str, Any]:
    """A record's times and peak memory, and the machine and load that they were taken under."""
    environment, timing = record.environment, record.timing
    execution = environment.get("execution", "")
    if not timing:  # diverged
        return {}
    peaks = {name: timing[name] for name in PEAKS if name in timing}
    return (
        peaks
        | {name: timing.get(name, 0.0) for name in TIMES}
        | {
            "timed_on": f"{environment['hardware']}; {timing['threads']:.0f} thread(s) a cell, "
            f"{timing['workers']:.0f} cell(s) side by side{', ' * bool(execution)}{execution}"
        }
    )


@dataclass(frozen=True)
class Evidence:
    """What a table or figure is drawn from.

    Attributes:
        suite: name of the suite.
        grid: name of the grid.
        cells: the cells it consists of.
        store: where their records are.
        command: the command that makes the records that are missing.
        variant: subfolder for what is drawn of other than the suite's default cells.
        selection: what of the grid was asked for, its account and prices included.
        sized: the suite, if it was asked for with twins or a batch of another size than its own.
    """

    suite: str
    grid: str
    cells: Sequence[AnyCell]
    store: Store
    command: str
    variant: str = ""
    selection: Selection = field(default_factory=Selection)
    sized: Suite | None = None

    @property
    def twins(self) -> Suite:
        """The suite, as it was sized."""
        return self.sized or get_suite(self.suite)

    @cached_property
    def _records(self) -> dict[str, Record]:
        found = {cell.key: self.store.current(cell) for cell in self.cells}
        return {key: record for key, record in found.items() if record is not None}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row a quality cell that is done or diverged (then its metrics are infinite): cell, metrics, cost, timing.

        Raises:
            BadInputError: records of one frame were made with different references or extractors.
        """
        found = [(cell, record) for cell, record in self.records("quality", ("done", "diverged"))]
        for name in ("reference", "extractor"):
            if len(digests := {record.inputs[name] for _, record in found}) > 1:
                raise BadInputError(
                    f"records of {self.grid} have different {name}s ({', '.join(digests)}): evaluate again"
                )
        rows: list[dict[str, Any]] = []
        for cell, record in found:
            quality = record.metrics if record.status == "done" else dict.fromkeys(METRICS, np.inf)
            spent = record.cost.get("block_passes", np.nan)
            comparable = record.cost.get("comparable", True)
            executed = record.cost.get("executed_block_passes", np.nan)
            cost = {"spent": spent, "executed": executed, "comparable": comparable}
            rows.append(cell.row() | quality | cost | _timing(record))
        costs = ("spent", "executed", "comparable")
        columns = [*CELL_COLUMNS, *METRICS, *SHARES, *costs, *TIMES, *PEAKS, "timed_on"]
        frame = pd.DataFrame(rows, columns=columns)
        if len(frame) and frame.timed_on.nunique() > 1:  # times of different machines are never merged
            frame[list(TIMES)] = float("nan")
        return frame

    @cached_property
    def floor(self) -> dict[str, float]:
        """Metrics of real images that nothing was trained on, as many as cells have samples; empty without a record."""
        return next((record.metrics for _, record in self.records("floor")), {})

    @property
    def replicates(self) -> list[int]:
        """Those that there are records of."""
        return sorted(set(self.frame.seed))

    @cached_property
    def asked(self) -> pd.DataFrame:
        """A row a quality cell of the grid, with or without a record."""
        rows = [cell.row() for cell in self.cells if cell.measure == "quality"]
        return pd.DataFrame(rows, columns=list(CELL_COLUMNS))

    def records(self, measure: str, statuses: Sequence[str] = ("done",)) -> Iterator[tuple[AnyCell, Record]]:
        """The cells of this measure with a record of one of these statuses."""
        for cell in self.cells:
            record = self._records.get(cell.key)
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
    def environments(self) -> list[dict[str, Any]]:
        """The different environments of the records."""
        unique: list[dict[str, Any]] = []
        for record in self._records.values():
            if record.environment not in unique:
                unique.append(record.environment)
        return unique

    @property
    def absent(self) -> dict[str, str]:
        """The cells without a `done` record: a line for each, with its status where it has another, by key."""
        lines = {}
        for cell in self.cells:
            record = self._records.get(cell.key)
            if record is None or record.status not in ("done", "diverged"):  # a divergence is a result
                state = "no record" if record is None else f"{record.status}, {record.reason}"
                lines[cell.key] = f"{cell}: {state}"
        return lines

    @property
    def missing(self) -> str:
        """How much of the grid is missing, as a sentence; empty if nothing is."""
        absent = len(self.absent)
        return f"{self.suite}: {absent} of {len(self.cells)} cells have no result yet." if absent else ""

    def path(self, kind: str, name: str) -> Path:
        """Where to write: kind is "tables" or "figures"; makes the folder."""
        folder = self.store.root / kind / self.variant
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    @property
    def caption(self) -> str:
        """The protocol in one line: suite, sample count, replicates, extractor, training budget; and the floor.

        Empty without quality.
        """
        cell = next((c for c in self.cells if isinstance(c, Cell) and c.measure == "quality"), None)
        if cell is None:
            return ""
        protocol = cell.protocol
        seeds = self.replicates
        guidance = "no guidance" if protocol.guidance_scale == 1 else f"guidance {protocol.guidance_scale:g}"
        several = f"replicates {', '.join(map(str, seeds))} (with 95% intervals)"
        replicates = several if len(seeds) > 1 else f"replicate {seeds[0]} (no interval)" if seeds else "none yet"
        fd = self.floor.get("fid")
        real = f"; floor: FD {fd:.3g} of {protocol.samples:,} real images that nothing was trained on" if fd else ""
        return (
            f"{self.suite}: {protocol.samples:,} samples a replicate, {replicates}, {guidance}, "
            f"{protocol.weights.upper()} weights, {protocol.extractor} features, {cell.run.budget_text} of "
            f"training each{self.account_note}{real}"
        )

    @property
    def account_note(self) -> str:
        """What a budget means, as the end of a sentence; nothing in the paper's account."""
        return f"; {definition}" if (definition := self.account.definition) else ""

    @property
    def choice(self) -> str:
        """How the best FPDM schedule is found, and among how many."""
        cells = (cell for cell in self.cells if isinstance(cell, Cell) and cell.measure == "quality")
        among = ", ".join(map(str, sorted({cell.iterations for cell in cells if cell.run.config.implicit})))
        if len(self.replicates) > 1:
            return f"FPDM's schedule is chosen, for each replicate, on the others, among {among} iterations."
        return f"FPDM's schedule is chosen among {among} iterations {FLATTERED}."

    @property
    def account(self) -> Account:
        """What budgets are counted in."""
        return self.selection.accounting

    @property
    def unit(self) -> str:
        """What a budget is a number of: in other accounts than the paper's, FPDM spends other passes than DiT."""
        return "block passes" if self.account.name == "blocks" else "DiT passes"

    @cached_property
    def accounted(self) -> "Evidence":
        """The cells of its own account: with the grid `accounts` among all, it has those of others too."""
        yardstick, account = self.twins.dit, self.account
        own = [cell for cell in self.cells if not isinstance(cell, Cell) or account.buys(yardstick, cell)]
        return self if len(own) == len(self.cells) else replace(self, cells=own)

    @property
    def extractor(self) -> str:
        """The feature extractor's name, for axis labels."""
        return next(c for c in self.cells if isinstance(c, Cell)).protocol.extractor

    @property
    def timing_caption(self) -> str:
        """Under what the cells were timed."""
        kinds = sorted(set(self.frame.timed_on.dropna()))
        return (
            f"Timed on {kinds[0]}, at different times: drift is in it."
            if len(kinds) == 1
            else "Timed on different machines, hence no times."
        )

    @property
    def shares_note(self) -> str:
        """What precision and recall are, and those of the floor; empty where no record has them."""
        if not self.frame.precision.notna().any():
            return ""
        floor = self.floor
        real = f" Of the floor's images: {floor['precision']:.3f}, {floor['recall']:.3f}." if floor else ""
        return SHARES_NOTE + real

    @property
    def peak_memory(self) -> str:
        """The most memory that a cell took, as a sentence; empty where no record tells."""
        resident, device = (self.frame[name].astype(float).max() for name in PEAKS)
        if np.isnan(resident):
            return ""
        tensors = "" if np.isnan(device) else f", {device:.1f} GiB of tensors on its device"
        return f"Peak memory of a cell: {resident:.1f} GiB resident{tensors}."


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per network and schedule: quality as mean with its 95% interval over replicates; medians of the times."""
    shares = [name for name in SHARES if frame[name].notna().any()]
    keys = [c for c in CELL_COLUMNS if c not in ("seed", "train_seed", "train_run", "key")]
    rows = (
        frame.groupby(keys, as_index=False)
        .agg(
            fd=("fid", "mean"),
            fd_half=("fid", lambda values: half_width(values.to_numpy())),
            kid=("kid", "mean"),
            kid_half=("kid", lambda values: half_width(values.to_numpy())),
            **{name: (name, lambda values: values.mean(skipna=False)) for name in shares},
            **{f"{name}_half": (name, lambda values: half_width(values.to_numpy())) for name in shares},
            spent=("spent", "mean"),
            comparable=("comparable", "all"),
            images_per_s=("images_per_s", "median"),
            latency_s=("latency_s", "median"),
            seeds=("seed", "nunique"),
            train_seeds=("train_seed", "nunique"),
        )
        .sort_values(["budget", "model", "iterations"])
    )
    return rows.assign(fd_low=rows.fd - rows.fd_half, fd_high=rows.fd + rows.fd_half)


def texts(column: pd.Series, absent: str = "") -> list[str]:
    """A column of texts with `absent` for what is missing."""
    return [value if isinstance(value, str) else absent for value in column]


def plus_minus(mean: pd.Series, half: pd.Series, digits: int = 3) -> list[str]:
    """Cells of a table for people: `1.103 ± 0.061`; without an interval, the mean alone; `diverged` for infinity."""
    written = []
    for m, h in zip(mean, half, strict=True):
        text = "diverged" if np.isinf(m) else "" if np.isnan(m) else f"{m:.{digits}f}"
        written.append(text if np.isinf(m) or np.isnan(h) else f"{text} ± {h:.{digits}f}")
    return written


def quality_columns(rows: pd.DataFrame) -> dict[str, list[str]]:
    """FD, KID and, where there are any, precision and recall of `over_seeds`, as columns of a table for people."""
    shares = {name: plus_minus(rows[name], rows[f"{name}_half"]) for name in SHARES if name in rows}
    return {"FD": plus_minus(rows.fd, rows.fd_half), "KID": plus_minus(rows.kid, rows.kid_half)} | shares
