"""Contenders and suites: networks that are compared on a dataset, with their training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.spec.datasets import OwnImages
from bench.system.errors import BadInputError
from models.config import ModelConfig
from models.families import Family, around, family_of
from models.process import PROCESS, Process

SAMPLING_DTYPES = ("fp32", "fp16", "bf16")


@dataclass(frozen=True)
class TrainingRecipe:
    """How a contender is trained.

    Attributes:
        seconds: training clock, in seconds; equal for all contenders of a suite.
        batch_size: global batch, images.
        learning_rate, weight_decay, betas: AdamW's; the learning rate is constant.
        clip_norm: gradient norm limit.
        ema_decay: the limit of the EMA's decay, which warms up as (1 + step) / (10 + step).
        class_dropout: probability of replacing a label with the null label.
        unroll: how iterations are unrolled: "stochastic" (JFB, the paper's Algorithm 1), "multi-step" or "jfb".
        n_max, m_max: its N and M: iterations without and with gradient. Stochastic JFB takes at most as many,
            the other two exactly as many.
        slice_s: seconds that a run trains before the next run's turn on one local machine.
    """

    seconds: float
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 1.0
    ema_decay: float = 0.9999
    class_dropout: float = 0.1
    unroll: str = "stochastic"
    n_max: int = 12
    m_max: int = 12
    slice_s: float = 60.0

    def at_rate(self, factor: float) -> TrainingRecipe:
        """The recipe with a multiple of its learning rate."""
        return replace(self, learning_rate=factor * self.learning_rate)

    def identity(self, timed: bool) -> dict[str, Any]:
        """Part of a training run's identity; names are frozen. `slice_s` is left out: it only orders work.

        `timed`: whether the budget is `seconds`; else they are left out.
        """
        frozen = {
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "betas": list(self.betas),
            "clip_norm": self.clip_norm,
            "ema_decay": self.ema_decay,
            "class_dropout": self.class_dropout,
            "unroll": self.unroll,
            "n_max": self.n_max,
            "m_max": self.m_max,
        }
        return {"seconds": self.seconds, **frozen} if timed else frozen

    @property
    def policy(self) -> tuple[str, int, int]:
        """Arguments of `models.fixed_point.unroll.make_policy`."""
        return self.unroll, self.n_max, self.m_max


@dataclass(frozen=True)
class EvaluationRecipe:
    """How quality is measured; part of every cell's protocol.

    Attributes:
        samples: generated images a cell and seed.
        seeds: the replicates. Replicate r has sampling seed r and, where the suite's own contenders are evaluated,
            their training seed r, so that the spread over replicates is of training and sampling together.
        batch_size: images sampled at once.
        extractor: name of the feature extractor; numbers of different extractors are never compared.
        extractor_digest: digest of its weights, if its registration has none.
        second_extractor: name of an extractor whose Frechet distance is measured too, of the same samples, if the user
            gives its weights and the results have statistics of its features; empty for none.
        kid_subsets, kid_subset_size: subsets of the kernel distance (Binkowski et al. 2018), and images in each.
        dtype: arithmetic of sampling, one of SAMPLING_DTYPES.
    """

    samples: int
    batch_size: int
    extractor: str
    seeds: tuple[int, ...] = (0, 1, 2)
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    dtype: str = "fp32"
    extractor_digest: str = ""
    second_extractor: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """Weights that were trained elsewhere, for whatever time.

    Attributes:
        sha256: first 16 hex digits of the digest of their file.
        process: what they predict, and of which noise.
    """

    sha256: str
    process: Process = PROCESS

    def identity(self) -> dict[str, Any]:
        """Part of a training run's identity; names are frozen."""
        process = self.process
        return {
            "sha256": self.sha256,
            "objective": process.objective,
            "betas": [process.beta_start, process.beta_end],
            "zero_terminal_snr": process.zero_terminal_snr,
        }


@dataclass(frozen=True)
class Contender:
    """A network of a family with its recipe, and how it is drawn.

    Attributes:
        name: in commands, tables and records; unique in its suite.
        config: its network.
        recipe: how it is trained.
        label, color, marker: in tables and figures (matplotlib's color and marker).
        grids: the grids that it takes part in by default; None for all of them. `--models` names it in any grid.
        weights_of: the contender whose weights it samples with, where it is not trained itself.
        choices: configurations to choose among when sampling, beside the number of iterations; only `config` if empty.
        iterations: numbers of iterations to choose among instead of a grid's own.
        elsewhere: its weights, if they were trained elsewhere; its recipe says nothing then.
    """

    name: str
    config: ModelConfig
    recipe: TrainingRecipe
    label: str
    color: str
    marker: str
    grids: tuple[str, ...] | None = None
    weights_of: str = ""
    choices: tuple[ModelConfig, ...] = ()
    iterations: tuple[int, ...] = ()
    elsewhere: Elsewhere | None = None

    @property
    def family(self) -> Family:
        return family_of(self.config)

    def numbers(self, iterations: Iterable[int]) -> tuple[int, ...]:
        """The numbers that its schedules have in a grid with these numbers of iterations."""
        if self.family.iterates:
            return self.iterations or tuple(iterations)
        return self.family.settings or (0,)

    @property
    def chooses(self) -> bool:
        """Whether it has several schedules at a budget, of which one is chosen."""
        return self.family.iterates or bool(self.family.settings)

    @property
    def configs(self) -> tuple[ModelConfig, ...]:
        """The configurations to choose among; those with more explicit blocks than the network has are left out."""
        return tuple(one for one in self.choices if around(one) <= one.depth) or (self.config,)

    def configured(self, change: Callable[[ModelConfig], ModelConfig]) -> Contender:
        """The contender with changed configurations."""
        return replace(self, config=change(self.config), choices=tuple(map(change, self.choices)))


@dataclass(frozen=True)
class Suite:
    """A dataset with its contenders and their evaluation.

    Attributes:
        contenders: in the order of tables.
        baseline_name: the contender that the others are compared with; budgets are what it spends.
        subject_name: the contender that the paper's claims, ablations and published numbers are about.
        gpus: GPUs that share a training batch, one rank each; training seconds are meant for this number.
        ablation_seconds: training clock of ablations; None for that of the contenders.
        ablation_trainings: trainings of each ablation: it has the first so many of the replicates.
        alternate: whether runs on one machine train in turns, all of them in memory at once.
        own: a user's own images, which the paper has no numbers beside.
    """

    name: str
    dataset: str
    contenders: tuple[Contender, ...]
    evaluation: EvaluationRecipe
    baseline_name: str = "dit"
    subject_name: str = "fpdm"
    gpus: int = 1
    ablation_seconds: float | None = None
    ablation_trainings: int = 3
    alternate: bool = True
    own: OwnImages | None = None

    @property
    def baseline(self) -> Contender:
        return self.contender(self.baseline_name)

    @property
    def subject(self) -> Contender:
        return self.contender(self.subject_name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all contenders."""
        return tuple(contender.name for contender in self.contenders)

    def contender(self, name: str) -> Contender:
        """The contender called `name`. BadInputError if there is none."""
        for contender in self.contenders:
            if contender.name == name:
                return contender
        raise BadInputError(f"unknown model {name!r} in --models: choose from {', '.join(self.names)}")

    def chosen(self, names: tuple[str, ...] | None, grid: str = "") -> tuple[Contender, ...]:
        """The contenders of these names, in that order; by default all that take part in the grid."""
        if names is None:
            return tuple(one for one in self.contenders if one.grids is None or grid in one.grids)
        return tuple(map(self.contender, names))

    def trained(self, contender: Contender) -> Contender:
        """The contender whose weights a contender samples with: itself, unless it borrows them."""
        return self.contender(contender.weights_of) if contender.weights_of else contender

    def sized(self, change: Callable[[ModelConfig], ModelConfig]) -> Suite:
        """The suite with changed configurations. A depth that is not the baseline's stays."""
        depth = self.baseline.config.depth

        def changed(config: ModelConfig) -> ModelConfig:
            return change(config) if config.depth == depth else replace(change(config), depth=config.depth)

        return replace(self, contenders=tuple(one.configured(changed) for one in self.contenders))

    def changed(self, config: Mapping[str, Any] | None = None, recipe: Mapping[str, Any] | None = None) -> Suite:
        """The suite with these settings in the configuration and recipe of every contender."""
        sized = self.sized(lambda one: replace(one, **(config or {})))
        changed = (replace(one, recipe=replace(one.recipe, **(recipe or {}))) for one in sized.contenders)
        return replace(sized, contenders=tuple(changed))
