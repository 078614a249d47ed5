"""Cells that need no trained weights: what a network takes, whatever it has learned. Plain data, no torch."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from bench.cells import CELL_COLUMNS, Cell, spec_hash
from bench.suites import Suite
from models.zoo import ModelConfig


@dataclass(frozen=True)
class Footprint:
    """Parameters and peak memory of a training step, computed for a network as configured: no weights are needed.

    Attributes:
        n, m: iterations without and with gradient of the step, for an implicit layer.
        precision: "fp32", "fp16" or "bf16".
    """

    suite: str
    model: str
    config: ModelConfig
    size: str
    batch_size: int
    precision: str
    n: int
    m: int
    run: ClassVar[None] = None
    measure: ClassVar[str] = "footprint"
    work: ClassVar[int] = 0
    budget: ClassVar[int] = 0
    seed: ClassVar[int] = 0

    @cached_property
    def key(self) -> str:
        """Its identity; names its record."""
        return spec_hash({"measure": self.measure} | dataclasses.asdict(self))

    def row(self) -> dict[str, Any]:
        """The cell as a line of a table; columns are those of `Cell.row`, empty where they do not apply."""
        known = {"suite": self.suite, "measure": self.measure, "model": self.model, "key": self.key}
        return {name: known.get(name, "") for name in CELL_COLUMNS}

    def __str__(self) -> str:
        return f"training memory of {self.model} {self.size}, batch {self.batch_size}, {self.precision}"


@dataclass(frozen=True)
class Speed:
    """Seconds of the twins' parts and of their sampling, measured side by side in rounds.

    Attributes:
        size: what the twins are called, e.g. "digits" or "XL/2".
        batch_size: images at once.
        precision: "fp32", "fp16" or "bf16".
        n_max, m_max: N and M of the training steps.
        compiled: whether parts are measured eager and compiled, side by side, instead of sampling runs.
        budgets, iterations: block passes of the sampling runs, and iterations of FPDM's.
    """

    suite: str
    size: str
    dit: ModelConfig
    fpdm: ModelConfig
    batch_size: int
    precision: str
    n_max: int
    m_max: int
    compiled: bool = False
    budgets: tuple[int, ...] = (140, 280, 560)
    iterations: tuple[int, ...] = (1, 2, 5, 12, 26)
    run: ClassVar[None] = None
    measure: ClassVar[str] = "speed"
    work: ClassVar[int] = 0
    budget: ClassVar[int] = 0
    seed: ClassVar[int] = 0

    @cached_property
    def key(self) -> str:
        """Its identity; names its record."""
        return spec_hash({"measure": self.measure} | dataclasses.asdict(self))

    def row(self) -> dict[str, Any]:
        """The cell as a line of a table; columns are those of `Cell.row`, empty where they do not apply."""
        known = {"suite": self.suite, "measure": self.measure, "key": self.key}
        return {name: known.get(name, "") for name in CELL_COLUMNS}

    def __str__(self) -> str:
        mode = ", eager and compiled" if self.compiled else ""
        return f"speed of {self.size} twins, batch {self.batch_size}, {self.precision}{mode}"


def calibration(suite: Suite) -> Speed:
    """The speed cell whose record prices the suite's steps in seconds: its twins, sampled as its cells are."""
    batch_size, precision, recipe = suite.evaluation.batch_size, suite.evaluation.precision, suite.training
    return Speed(suite.name, suite.name, suite.dit, suite.fpdm, batch_size, precision, recipe.n_max, recipe.m_max)


AnyCell = Cell | Footprint | Speed
