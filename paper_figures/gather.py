"""A grid's records as a data frame: the cells that are asked for, joined with what came of them.

Cells are enumerated first and records looked up by their keys, so a table or figure cannot mix protocols.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bench.cells import Cell
from bench.errors import BadInputError
from bench.store import Record, Store

TIMES = ("images_per_s", "latency_s")


def _timing(record: Record) -> dict[str, Any]:
    """A record's times, and the machine and load that they were taken under."""
    environment, timing = record.environment, record.timing
    return {name: timing[name] for name in TIMES} | {
        "timed_on": f"{environment['hardware']}; {timing['threads']:.0f} thread(s) a cell, "
        f"{timing['workers']:.0f} cell(s) side by side"
    }


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
    """

    suite: str
    grid: str
    cells: Sequence[Cell]
    store: Store
    command: str
    variant: str = ""

    @cached_property
    def _records(self) -> dict[str, Record]:
        found = {cell.key: self.store.current(cell) for cell in self.cells}
        return {key: record for key, record in found.items() if record is not None}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row a cell that is done: its line of `--list`, its metrics and timing.

        Raises:
            BadInputError: records of one frame were made with different references or extractors.
        """
        done = [record for record in self._records.values() if record.status == "done"]
        for name in ("reference", "extractor"):
            if len(digests := {record.inputs[name] for record in done}) > 1:
                raise BadInputError(
                    f"records of {self.grid} have different {name}s ({', '.join(digests)}): evaluate again"
                )
        rows: list[dict[str, Any]] = []
        by_key = {cell.key: cell for cell in self.cells}
        for record in done:
            rows.append(by_key[record.key].row() | record.metrics | _timing(record))
        frame = pd.DataFrame(rows)
        if len(frame) and frame.timed_on.nunique() > 1:  # times of different machines are never merged
            frame[list(TIMES)] = float("nan")
        return frame

    @property
    def environments(self) -> list[dict[str, Any]]:
        """The different environments of the records."""
        unique: list[dict[str, Any]] = []
        for record in self._records.values():
            if record.environment not in unique:
                unique.append(record.environment)
        return unique

    @property
    def absent(self) -> list[str]:
        """A line for each cell without a `done` record, with its status where it has another."""
        lines = []
        for cell in self.cells:
            record = self._records.get(cell.key)
            if record is None or record.status != "done":
                state = "no record" if record is None else f"{record.status}, {record.reason}"
                lines.append(
                    f"{cell.run.model} at {cell.budget} passes, {cell.iterations} iterations, seed {cell.seed}: {state}"
                )
        return lines

    def path(self, kind: str, name: str) -> Path:
        """Where to write: kind is "tables" or "figures"; makes the folder."""
        folder = self.store.root / kind / self.variant
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def training(self, model: str) -> dict[str, Any] | None:
        """The summary of the training of this grid's `model`."""
        for cell in self.cells:
            if cell.run.model == model:
                return self.store.read_training(cell.run)
        return None

    @property
    def caption(self) -> str:
        """Suite, sampler, sample count, extractor, training budget: the protocol in one line."""
        cell = self.cells[0]
        protocol = cell.protocol
        seeds = sorted({c.seed for c in self.cells if c.key in self._records})
        guidance = "no guidance" if protocol.guidance_scale == 1 else f"guidance {protocol.guidance_scale:g}"
        return (
            f"{self.suite}: {protocol.samples} samples, seed{'s' if len(seeds) > 1 else ''} "
            f"{', '.join(map(str, seeds))}, {cell.sampler.upper()}, {guidance}, {protocol.weights.upper()} weights, "
            f"{protocol.extractor} features, {cell.run.budget_text} of training each"
        )

    @property
    def timing_caption(self) -> str:
        """Under what the cells were timed."""
        kinds = sorted(set(self.frame.timed_on))
        return f"Timed on {kinds[0]}." if len(kinds) == 1 else "Timed on different machines, hence no times."


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per model and schedule: mean, lowest and highest FD over the sampling seeds, medians of the times."""
    keys = ["budget", "model", "n_pre", "iterations", "n_post", "steps", "block_passes", "macs", "reuse"]
    return (
        frame.groupby(keys, as_index=False)
        .agg(
            fd=("fid", "mean"),
            fd_low=("fid", "min"),
            fd_high=("fid", "max"),
            kid=("kid", "mean"),
            images_per_s=("images_per_s", "median"),
            latency_s=("latency_s", "median"),
            seeds=("seed", "nunique"),
        )
        .sort_values(["budget", "model", "iterations"])
    )
