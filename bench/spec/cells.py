"""Cells and training runs: frozen, hashable descriptions of what is evaluated and trained.

A cell's key is the hash of its `identity()`. The names in an identity are frozen: renaming a field changes no key, nor
does a new field that is left out at its default.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, ClassVar

from bench.spec.contenders import Elsewhere, TrainingRecipe
from models.config import ModelConfig
from models.diffusion.allocation import ADAPTIVE_LIMIT, allocate
from models.diffusion.samplers import get_sampler
from models.families import family_of, forward_macs, forward_passes
from models.process import PROCESS, Process


def spec_hash(identity: Mapping[str, Any], length: int = 16) -> str:
    """Hex hash of a JSON-able mapping, independent of the order of its names."""
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:length]


@dataclass(frozen=True)
class TrainingRun:
    """One training: which network, on what, for how long.

    The budget is `recipe.seconds` of training clock or, if `steps` is given, that number of optimizer steps. A run of a
    number of steps is exactly repeatable, but not an equal-time comparison.
    """

    suite: str
    dataset: str
    model: str
    config: ModelConfig
    recipe: TrainingRecipe
    seed: int = 0
    steps: int | None = None
    elsewhere: Elsewhere | None = None

    @cached_property
    def name(self) -> str:
        """Name of its folder: readable, and unique through a hash of its identity."""
        if self.elsewhere:
            return f"{self.model}-{spec_hash(self.identity(), 8)}"
        budget = f"{self.recipe.seconds:g}s" if self.steps is None else f"{self.steps}steps"
        return f"{self.model}-{budget}-seed{self.seed}-{spec_hash(self.identity(), 8)}"

    def identity(self) -> dict[str, Any]:
        """Identity of the run; names are frozen. Of weights that were trained elsewhere it has no training."""
        which = {
            "suite": self.suite,
            "dataset": self.dataset,
            "model": self.model,
            "config": self.config.identity(),
        }
        if self.elsewhere:
            return which | {"elsewhere": self.elsewhere.identity()}
        return which | {
            "recipe": self.recipe.identity(timed=self.steps is None),
            "seed": self.seed,
            "steps": self.steps,
        }

    @property
    def budget(self) -> float:
        """Its length: seconds, or steps if it has a number of steps."""
        return self.recipe.seconds if self.steps is None else self.steps

    @cached_property
    def chain(self) -> str:
        """Hash of all but its length. Of two runs with the same chain, the shorter is the start of the longer."""
        recipe, counted = self.recipe.identity(timed=False), self.steps is not None
        return spec_hash(self.identity() | {"recipe": recipe, "steps": counted})

    @property
    def process(self) -> Process:
        """What its network predicts, and of which noise."""
        return self.elsewhere.process if self.elsewhere else PROCESS

    @property
    def budget_text(self) -> str:
        return f"{self.recipe.seconds:g} s" if self.steps is None else f"{self.steps} steps"

    @property
    def description(self) -> str:
        """For people: `fpdm 1+k+1, stochastic N=6 M=6, seed 0`."""
        family, recipe = family_of(self.config), self.recipe
        if self.elsewhere:
            return f"{self.model} {family.shape(self.config)}, trained elsewhere"
        policy = f", {recipe.unroll} N={recipe.n_max} M={recipe.m_max}" if family.iterates else ""
        return f"{self.model} {family.shape(self.config)}{policy}, seed {self.seed}"


@dataclass(frozen=True)
class Second:
    """A second extractor and a reference of its features, to which one more Frechet distance is measured.

    Attributes:
        name: as registered in `bench.spec.extractors.SECOND_EXTRACTORS`.
        network: which network its weights are of.
        extractor_digest, reference_digest: as in `Protocol`.
    """

    name: str
    network: str
    extractor_digest: str
    reference_digest: str

    def identity(self) -> dict[str, str]:
        """Part of a protocol's identity; names are frozen."""
        return {
            "name": self.name,
            "network": self.network,
            "extractor_digest": self.extractor_digest,
            "reference_digest": self.reference_digest,
        }


@dataclass(frozen=True)
class Protocol:
    """Conditions of a quality number beside network and schedule. Tables compare cells of one protocol only.

    Samples use the averaged (EMA) weights. Labels are balanced: sample i has label i mod num_classes. Adaptive
    allocation decides for each sample by itself. These three are constants of the identity.

    Attributes:
        samples: generated images.
        batch_size: images sampled at once.
        extractor: name of the feature extractor.
        extractor_digest: digest of its weights.
        reference_digest: digest of the reference images; in a latent suite, identity of their statistics.
        kid_subsets, kid_subset_size: subsets of the kernel distance, and images in each.
        dtype: "fp32", "fp16" or "bf16" arithmetic of sampling.
        spacing: spacing of the timesteps (`models.diffusion.timesteps`).
        guidance_scale: scale of classifier-free guidance; 1 means none.
        guidance_channels: how many of the first channels are guided.
        second: the second extractor, if one measures too.
    """

    samples: int
    batch_size: int
    extractor: str
    extractor_digest: str
    reference_digest: str
    kid_subsets: int
    kid_subset_size: int
    dtype: str
    spacing: str = "linspace"
    guidance_scale: float = 1.0
    guidance_channels: int = 0
    second: Second | None = None

    def identity(self) -> dict[str, Any]:
        """Part of a cell's identity; names are frozen."""
        second = {"second": self.second.identity()} if self.second else {}
        return second | {
            "samples": self.samples,
            "batch_size": self.batch_size,
            "extractor": self.extractor,
            "extractor_digest": self.extractor_digest,
            "reference_digest": self.reference_digest,
            "kid_subsets": self.kid_subsets,
            "kid_subset_size": self.kid_subset_size,
            "precision": self.dtype,
            "spacing": self.spacing,
            "weights": "ema",
            "labels": "balanced",
            "adaptive": "per sample",
            "guidance_scale": self.guidance_scale,
            "guidance_channels": self.guidance_channels,
        }


# measure of a `Cell` -> the class that measures it (see `bench.evaluation.evaluator`)
MEASURED_BY = {
    "quality": "bench.evaluation.quality_cells:Quality",
    "images": "bench.evaluation.samples:Images",
    "convergence": "bench.evaluation.samples:Convergence",
}


@dataclass(frozen=True)
class Cell:
    """One point of a grid: samples of a trained network under a schedule, to be measured.

    `n_pre`, `iterations` and `n_post` are the network's place in Figure 4 (`Family.layout`). Guidance doubles the cost
    of every contender alike and is left out, as in the paper.

    Attributes:
        run: the training of its weights.
        measure: "quality", "images" (kept to be shown) or "convergence" (of the fixed-point iteration).
        budget: block passes per image that the baseline may spend. An account (`bench.spec.accounts`) says how many
            steps it buys; in the account `blocks` it is the most that any contender may spend.
        iterations: iterations of every evaluation of the network, or their mean if the allocation varies them.
        steps: of the sampler, which may evaluate the network several times a step (`Sampler.evaluations`).
        solver: solver of the fixed point: "iteration", "anderson" or "broyden".
        reuse: whether a step starts from the state that the step before returned.
        seed: seed of the samples.
        borrower: name of the contender, if it samples with the weights of another one; empty if they are its own.
        network: the configuration that samples, if it is not the one that was trained.
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
    borrower: str = ""
    network: ModelConfig | None = None
    alone: ClassVar[bool] = False  # see `bench.spec.measurements.Measurement`

    @property
    def model(self) -> str:
        """Name of the contender."""
        return self.borrower or self.run.model

    @property
    def config(self) -> ModelConfig:
        """Configuration of the network that samples."""
        return self.network or self.run.config

    @cached_property
    def key(self) -> str:
        """Hash of its identity; names its record."""
        return spec_hash(self.identity())

    def identity(self) -> dict[str, Any]:
        """Identity of the cell; names are frozen."""
        borrowed: dict[str, Any] = {"borrower": self.borrower} if self.borrower else {}
        if self.network is not None:
            borrowed["network"] = self.network.identity()
        return borrowed | {
            "run": self.run.identity(),
            "measure": self.measure,
            "budget": self.budget,
            "n_pre": self.n_pre,
            "iterations": self.iterations,
            "n_post": self.n_post,
            "steps": self.steps,
            "sampler": self.sampler,
            "solver": self.solver,
            "reuse": self.reuse,
            "allocation": self.allocation,
            "seed": self.seed,
            "protocol": self.protocol.identity(),
        }

    @property
    def measured_by(self) -> str:
        return MEASURED_BY[self.measure]

    @property
    def counts(self) -> tuple[int, ...]:
        """The number that `predict` gets in each evaluation of a step; for adaptive allocation, each step's limit."""
        return self._counts(self.allocation)

    @property
    def evaluations(self) -> int:
        """Evaluations of the network per image."""
        return self._total(lambda config, count: 1)

    @property
    def block_passes(self) -> int:
        """Block passes per image, the paper's unit of compute (Sec. 4.2); for adaptive allocation, the target."""
        return self._total(forward_passes)

    @property
    def injections(self) -> int:
        """Injections per image."""
        return self._total(family_of(self.config).injections)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image, injections included."""
        return self._total(forward_macs)

    def _counts(self, allocation: str) -> tuple[int, ...]:
        """Iterations are shared among steps of equally many evaluations: each allocation spends the same in all."""
        alike = get_sampler(self.sampler).alike(self.steps)
        numbers = tuple(number for steps in alike for number in allocate(allocation, steps, self.iterations))
        return family_of(self.config).counts(self.config, numbers)

    def _total(self, cost: Callable[[ModelConfig, int], int]) -> int:
        """Sum of a cost over the evaluations; for adaptive allocation, of the mean number of iterations."""
        counts = self._counts("constant" if self.allocation == "adaptive" else self.allocation)
        made = get_sampler(self.sampler).tally(counts)
        return sum(times * cost(self.config, count) for count, times in made.items())

    @property
    def work(self) -> int:
        """MACs of the whole cell at most, for ordering and estimates: a batch runs until its last sample is done."""
        return self.macs * self.protocol.samples * (ADAPTIVE_LIMIT if self.allocation == "adaptive" else 1)

    def row(self) -> dict[str, Any]:
        """The cell as a line of a table."""
        recipe, iterates = self.run.recipe, family_of(self.config).iterates
        return {
            "suite": self.run.suite,
            "measure": self.measure,
            "model": self.model,
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
            "reuse_mix": self.config.reuse_mix,
            "allocation": self.allocation,
            "guidance": self.protocol.guidance_scale,
            "seed": self.seed,
            "samples": self.protocol.samples,
            "unroll": recipe.unroll if iterates else "",
            "n_max": recipe.n_max if iterates else "",
            "m_max": recipe.m_max if iterates else "",
            "train_seed": self.run.seed,
            "train_run": self.run.name,
            "key": self.key,
        }

    def spec(self) -> dict[str, Any]:
        """Description of the cell in its record."""
        return self.row() | {"protocol": self.protocol.identity(), "run": self.run.identity()}

    def __str__(self) -> str:
        family = family_of(self.config)
        sampled = f"{self.borrower} with weights of " * bool(self.borrower)
        what = f"{self.measure} of {sampled}{self.run.description}: {self.budget} passes, "
        what += (
            family.schedule(self.config, self.iterations, self.steps)
            if family.settings
            else f"{self.iterations} iterations x {self.steps} steps"
        )
        what += f", {self.sampler}" + ("" if self.config.reuse_mix == 1 else f", reuse mix {self.config.reuse_mix:g}")
        what += "" if self.solver == "iteration" else f", {self.solver}"
        what += "" if self.allocation == "constant" else f", {self.allocation}"
        what += ", no reuse" if family.carries_state and not self.reuse else ""
        what += "" if self.protocol.guidance_scale == 1 else f", guidance {self.protocol.guidance_scale:g}"
        return f"{what}, {self.protocol.samples} samples of seed {self.seed}"


CELL_COLUMNS = (
    "suite", "measure", "model", "budget", "n_pre", "iterations", "n_post", "steps", "block_passes", "macs", "sampler",
    "solver", "reuse", "reuse_mix", "allocation", "guidance", "seed", "samples", "unroll", "n_max", "m_max",
    "train_seed", "train_run", "key",
)  # fmt: skip
