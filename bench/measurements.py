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
    """Parameters and peak memory, computed for a network as configured: no weights are needed.

    Attributes:
        size: what the twins are called, e.g. "digits" or "XL/2".
        batch_size: images of a training step, or sampled at once.
        precision: "fp32", "fp16" or "bf16".
        phase: "training" (one step) or "sampling" (with reuse).
        unroll: of training: "multi-step" (exactly n and m iterations) or "stochastic" (n, and the mean over m of 1 to
            the given one, each as likely); "" for sampling.
        n, m: iterations without and with gradient, for an implicit layer; sampling has n of the former.
        grad_checkpointing: whether training recomputes explicit blocks and iterations in backward.
    """

    suite: str
    model: str
    config: ModelConfig
    size: str
    batch_size: int
    precision: str
    phase: str
    unroll: str
    n: int
    m: int
    grad_checkpointing: bool = False
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
        what = f"{self.phase} memory of {self.model} {self.size}, batch {self.batch_size}, {self.precision}"
        if self.config.implicit and self.phase == "training":
            what += f", n = {self.n}, m {f'of 1 to {self.m}' if self.unroll == 'stochastic' else f'= {self.m}'}"
        return what + (", checkpointing" if self.grad_checkpointing else "")


@dataclass(frozen=True)
class Speed:
    """Seconds of the twins' parts and of their sampling, measured side by side in rounds.

    Attributes:
        size: what the twins are called, e.g. "digits" or "XL/2".
        batch_size: images at once.
        precision: "fp32", "fp16" or "bf16".
        compiled: whether blocks and iterations are compiled.
    """

    suite: str
    size: str
    dit: ModelConfig
    fpdm: ModelConfig
    batch_size: int
    precision: str
    compiled: bool
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
        mode = "compiled" if self.compiled else "eager"
        return f"speed of {self.size} twins, batch {self.batch_size}, {self.precision}, {mode}"


def calibration(suite: Suite) -> Speed:
    """The speed cell whose record prices the suite's steps in seconds: its twins, sampled as its cells are."""
    recipe = suite.evaluation
    return Speed(suite.name, suite.name, suite.dit, suite.fpdm, recipe.batch_size, recipe.precision, compiled=False)


AnyCell = Cell | Footprint | Speed
