"""Cells and training runs: frozen, hashable descriptions of what is evaluated and trained. Plain data, no torch."""

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from bench.spec.suites import TrainingRecipe
from models.cost import forward_macs
from models.diffusion.allocation import ADAPTIVE_LIMIT, allocate
from models.zoo import ModelConfig


def spec_hash(spec: Any, length: int = 16) -> str:
    """Hex hash of a dataclass or JSON-able value, independent of field order."""
    plain = spec if isinstance(spec, dict) else dataclasses.asdict(spec)
    return sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:length]


@dataclass(frozen=True)
class TrainingRun:
    """One training: which network, on what, for how long.

    The budget is `seconds` of training clock or, if `steps` is given, that number of optimizer steps instead: such a
    run is exactly repeatable, but not an equal-time comparison.
    """

    suite: str
    dataset: str
    model: str
    config: ModelConfig
    recipe: TrainingRecipe
    seed: int = 0
    steps: int | None = None

    @cached_property
    def name(self) -> str:
        """Name of its folder: readable, and unique through a hash of everything above."""
        budget = f"{self.recipe.seconds:g}s" if self.steps is None else f"{self.steps}steps"
        return f"{self.model}-{budget}-seed{self.seed}-{spec_hash(self.identity(), 8)}"

    def identity(self) -> dict[str, Any]:
        """What makes it this run: all but `slice_s`, which orders the work, and seconds where steps are the budget."""
        spec = dataclasses.asdict(self)
        del spec["recipe"]["slice_s"]
        if self.steps is not None:
            del spec["recipe"]["seconds"]
        return json.loads(json.dumps(spec))  # as a record or checkpoint gives it back

    @property
    def budget_text(self) -> str:
        return f"{self.recipe.seconds:g} s" if self.steps is None else f"{self.steps} steps"

    @property
    def description(self) -> str:
        """What it is, for people: `fpdm 1+k+1, stochastic N=6 M=6, seed 0`."""
        config, recipe = self.config, self.recipe
        if not config.implicit:
            return f"{self.model} {config.depth} blocks, seed {self.seed}"
        policy = f"{recipe.unroll} N={recipe.n_max} M={recipe.m_max}"
        return f"{self.model} {config.n_pre}+k+{config.n_post}, {policy}, seed {self.seed}"


@dataclass(frozen=True)
class Protocol:
    """What a quality number depends on beside model and schedule. Tables compare cells of one protocol only.

    Labels are balanced: sample i has label i mod num_classes. `guidance_scale` 1 means no guidance. The digests are of
    the extractor's weights and of the reference images; where those are the user's own, `reference_digest` is the
    identity of their statistics. Adaptive allocation decides per sample: a sample's iterations end
    when its own residual falls below the threshold, so that they depend on that sample only.
    """

    samples: int
    batch_size: int
    extractor: str
    extractor_digest: str
    reference_digest: str
    kid_subsets: int
    kid_subset_size: int
    precision: str
    spacing: str = "linspace"
    weights: str = "ema"
    labels: str = "balanced"
    adaptive: str = "per sample"
    guidance_scale: float = 1.0
    guidance_channels: int = 0

    def __post_init__(self) -> None:
        if (self.weights, self.labels, self.adaptive) != ("ema", "balanced", "per sample"):
            raise ValueError(
                "only EMA weights, balanced labels and per-sample adaptivity can be evaluated, got "
                f"{self.weights}, {self.labels}, {self.adaptive}"
            )


@dataclass(frozen=True)
class Cell:
    """One point of a grid.

    A DiT of depth L counts as L - 2 iterations between one pre and one post block (caption of the paper's Figure 4), so
    that cost is (n_pre + iterations + n_post) * steps for both twins. Guidance doubles it, for both alike, and is left
    out, as in the paper.

    Attributes:
        run: the training that its weights come from.
        measure: what is made of the samples: "quality", "images" (kept to be looked at) or "convergence" (of the
            fixed-point iteration).
        budget: block passes per image of the DiT that spends it all. How many steps it buys is for an account to say
            (`bench.spec.accounts`); only in `blocks` is it the most that an FPDM may spend.
        iterations: of every step, or their mean where the allocation varies.
        solver: of the fixed point: "iteration", "anderson" or "broyden".
        seed: of the samples.
    """

    run: TrainingRun
    measure: str
    budget: int
    n_pre: int
    iterations: int
    n_post: int
    steps: int
    sampler: str
    solver: str
    reuse: bool
    allocation: str
    seed: int
    protocol: Protocol

    @cached_property
    def key(self) -> str:
        """Its identity; names its record."""
        spec = dataclasses.asdict(self)
        spec["run"] = self.run.identity()
        return spec_hash(spec)

    @property
    def block_passes(self) -> int:
        """Block passes per image, the paper's unit of compute (Sec. 4.2); for adaptive allocation, what it aims at."""
        if self.allocation == "adaptive" or not self.run.config.implicit:
            return (self.n_pre + self.iterations + self.n_post) * self.steps
        spent = sum(allocate(self.allocation, self.steps, self.iterations))
        return (self.n_pre + self.n_post) * self.steps + spent

    @property
    def injections(self) -> int:
        """Injections per image: one an iteration of an implicit layer."""
        return self.iterations * self.steps if self.run.config.implicit else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image, injections included."""
        return forward_macs(self.run.config, self.iterations) * self.steps

    @property
    def work(self) -> int:
        """MACs of the whole cell, for ordering and estimates: the batch runs until its last sample is done."""
        return self.macs * self.protocol.samples * (ADAPTIVE_LIMIT if self.allocation == "adaptive" else 1)

    def row(self) -> dict[str, Any]:
        """The cell as a line of a table."""
        recipe = self.run.recipe
        return {
            "suite": self.run.suite,
            "measure": self.measure,
            "model": self.run.model,
            "budget": self.budget,
            "n_pre": self.n_pre,
            "iterations": self.iterations,
            "n_post": self.n_post,
            "steps": self.steps,
            "block_passes": self.block_passes,
            "macs": self.macs,
            "sampler": self.sampler,
            "solver": self.solver,
            "reuse": self.reuse,
            "allocation": self.allocation,
            "guidance": self.protocol.guidance_scale,
            "seed": self.seed,
            "samples": self.protocol.samples,
            "unroll": recipe.unroll if self.run.config.implicit else "",
            "n_max": recipe.n_max if self.run.config.implicit else "",
            "m_max": recipe.m_max if self.run.config.implicit else "",
            "train_seed": self.run.seed,
            "train_run": self.run.name,
            "key": self.key,
        }

    def __str__(self) -> str:
        what = f"{self.measure} of {self.run.description}: {self.budget} passes, "
        what += f"{self.iterations} iterations x {self.steps} steps, {self.sampler}"
        what += "" if self.solver == "iteration" else f", {self.solver}"
        what += "" if self.allocation == "constant" else f", {self.allocation}"
        what += ", no reuse" if self.run.config.implicit and not self.reuse else ""
        what += "" if self.protocol.guidance_scale == 1 else f", guidance {self.protocol.guidance_scale:g}"
        return f"{what}, {self.protocol.samples} samples of seed {self.seed}"


CELL_COLUMNS = (
    "suite", "measure", "model", "budget", "n_pre", "iterations", "n_post", "steps", "block_passes", "macs", "sampler",
    "solver", "reuse", "allocation", "guidance", "seed", "samples", "unroll", "n_max", "m_max", "train_seed",
    "train_run", "key",
)  # fmt: skip
