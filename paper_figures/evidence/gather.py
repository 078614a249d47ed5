"""Evidence of a table or figure: the cells of a grid, their records as a data frame, and sentences on both.

Cells are enumerated first and records are looked up by their keys, so a table or figure cannot mix protocols.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.spec.accounts import Account
from bench.spec.cells import CELL_COLUMNS, Cell
from bench.spec.contenders import Contender, Suite
from bench.spec.extractors import get_extractor
from bench.spec.grids.catalogue import get_cells
from bench.spec.measurements import AnyCell, Floor
from bench.spec.metrics import SECOND_METRICS
from bench.spec.selection import Selection, replicates
from bench.spec.suites import get_suite
from bench.store.records import Record, Store
from bench.system.errors import BadInputError
from models.families import family_of
from paper_figures.evidence.noise import in_words, spreads

METRICS = ("fid", "kid", "kid_subset_std")
PARTS = ("fid_quarter", "fid_half", "fid_limit")  # FD of parts of the images; absent from older records
SHARES = ("precision", "recall")  # absent from older records, as are the peaks below
SECOND = tuple(metric.name for metric in SECOND_METRICS.values())  # in features of a second extractor, where measured
SHARES_NOTE = (
    "Precision: share of samples near a real image; recall: share of real images near a sample (Kynkäänniemi et al. "
    "2019); higher is better."
)
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
class Evidence:
    """A grid's cells and their records, from which tables and figures are drawn.

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
    def noise(self) -> str:
        """The spread of FD between trainings and between samples, as a part of a sentence; empty without records."""
        try:
            cells = get_cells(
                "panel", self.compared, replace(self.selection, account="blocks", budgets=None, models=None)
            )
        except BadInputError:
            return ""
        frame = replace(self, cells=cells).every_sample
        return in_words(spreads(frame), {one.name: one.label for one in self.compared.contenders})

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
    def caption(self) -> str:
        """The protocol in one line: suite, sample count, replicates, extractor, training budget; and the floor.

        Empty without quality.
        """
        return self.captioned(self.quality[0].run.budget_text) if self.quality else ""

    def captioned(self, training: str) -> str:
        """The caption with another training budget, for a grid that has several."""
        cell, seeds = self.quality[0], self.replicates
        protocol = cell.protocol
        guidance = "no guidance" if protocol.guidance_scale == 1 else f"guidance {protocol.guidance_scale:g}"
        several = f"replicates {', '.join(map(str, seeds))} (with 95% intervals)"
        replicates = several if len(seeds) > 1 else f"replicate {seeds[0]} (no interval)" if seeds else "none yet"
        fd, own = self.floor.get("fid"), self.compared.evaluation.dtype
        dtype = "" if protocol.dtype == own else f", sampled in {protocol.dtype}"
        real = f"; floor: FD {fd:.3g} of {self.floor_images:,} real images that nothing was trained on" if fd else ""
        return (
            f"{self.suite}: {protocol.samples:,} samples a replicate, {replicates}, {guidance}, "
            f"EMA weights{dtype}, {self.extractor} features, {training} of "
            f"training each{self._elsewhere}{self.account_note}{real}{'; ' * bool(self.noise)}{self.noise}"
        )

    @property
    def _elsewhere(self) -> str:
        """Which contenders were not trained for this time, as the end of a sentence."""
        names = dict.fromkeys(cell.model for cell in self.quality if cell.run.elsewhere)
        labels = [self.compared.contender(name).label for name in names]
        return f" ({', '.join(labels)}: trained elsewhere, for another time)" if labels else ""

    @property
    def account_note(self) -> str:
        """The meaning of a budget, as the end of a sentence; empty in the paper's account."""
        return f"; {definition}" if (definition := self.account.definition) else ""

    @property
    def choice(self) -> str:
        """How the best schedule of a contender that iterates is chosen, and among which; empty if none iterates."""
        cells = [cell for cell in self.quality if family_of(cell.config).iterates]
        if not cells:
            return ""
        names = dict.fromkeys(cell.model for cell in cells)
        chosen = " and ".join(f"{self.compared.contender(name).label}'s" for name in names) + " schedule is chosen"
        among = f"among {', '.join(map(str, sorted({cell.iterations for cell in cells})))} iterations"
        if len(self.replicates) > 1:
            return f"{chosen}, for each replicate, on the others, {among}."
        return f"{chosen} {among} {self.flattered}."

    @property
    def flattered(self) -> str:
        """The end of a sentence on a schedule that was chosen with one replicate."""
        label = self.compared.subject.label
        return f"on the very samples that score it, for want of a second replicate, which flatters {label}"

    @property
    def account(self) -> Account:
        """The account that budgets are counted in."""
        return self.selection.accounting

    @property
    def unit(self) -> str:
        """The unit of budgets: in other accounts than the paper's, block passes of the baseline only."""
        return "block passes" if self.account.name == "blocks" else f"{self.compared.baseline.label} passes"

    @cached_property
    def accounted(self) -> "Evidence":
        """The evidence without cells of other accounts, which the grid `accounts` has."""
        yardstick, account = self.compared.baseline.config, self.account
        own = [cell for cell in self.cells if not isinstance(cell, Cell) or account.buys(yardstick, cell)]
        return self if len(own) == len(self.cells) else replace(self, cells=own)

    @property
    def extractor(self) -> str:
        """The feature extractor's name, for axis labels; a weak one is called weak."""
        return get_extractor(next(c for c in self.cells if isinstance(c, Cell)).protocol.extractor).label

    @property
    def timing_caption(self) -> str:
        """A sentence on the machine and load that the cells were timed under."""
        kinds = sorted(set(self.frame.timed_on.dropna()))
        return (
            f"Timed on {kinds[0]}, at different times: drift is in it."
            if len(kinds) == 1
            else "Timed on different machines, hence no times."
        )

    @property
    def shares_note(self) -> str:
        """Sentences that define precision and recall and give the floor's, and on a second extractor's distance.

        Empty where no record has them.
        """
        if not self.frame.precision.notna().any():
            return self.second_note
        shares = "{precision:.3f}, {recall:.3f}".format(**self.floor) if self.floor else ""
        real = f" Of the floor's {self.floor_images:,} images: {shares}." if shares else ""
        return f"{SHARES_NOTE}{real} {self.second_note}".rstrip()

    @property
    def second_note(self) -> str:
        """A sentence on the distance in a second extractor's features; empty where no record has it."""
        protocols = (record.cell.get("protocol", {}) for _, record in self.records("quality"))
        used = {(known["name"], known["network"]): None for one in protocols if (known := one.get("second"))}
        return " ".join(
            f"{SECOND_METRICS[name].label}: Fréchet distance of the same samples in {network} features; schedules are "
            "chosen by FD."
            for name, network in used
        )

    @property
    def peak_memory(self) -> str:
        """A sentence with the most memory that a cell took; empty where no record has it."""
        resident, device = (self.frame[name].astype(float).max() for name in PEAKS)
        if np.isnan(resident):
            return ""
        tensors = "" if np.isnan(device) else f", {device:.1f} GiB of tensors on its device"
        return f"Peak memory of a cell: {resident:.1f} GiB resident{tensors}."
