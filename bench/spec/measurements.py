"""Kinds of cells that need no trained weights: memory, speed, and the floor of real images.

A kind is a frozen dataclass here, and the class that `measured_by` names, which measures the cell or says why it
cannot (`bench.evaluation.evaluator`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from bench.spec.cells import CELL_COLUMNS, Cell, Protocol, spec_hash
from bench.spec.contenders import Contender, Suite
from bench.spec.datasets import get_dataset
from models.config import ModelConfig
from models.families import family_of
from models.zoo import model_config

BUDGETS = (140, 280, 560)  # block passes (Table 1): a DiT of 28 blocks takes 5, 10 and 20 steps
WITH_GRAD = (1, 3, 6, 12)  # m of the training steps whose memory is compared
PUBLISHED: dict[str, Any] = {"size": "XL/2", "batch_size": 64, "dtype": "fp16"}  # setting of the paper's memory
PUBLISHED_ITERATIONS = 12  # N = M (Sec. 4.1)
SAMPLED_WITH = 8  # iterations, as in FPDM's sample grids


@dataclass(frozen=True)
class Measurement:
    """Base of all cells without a training run.

    Class attributes:
        measure: name of the kind.
        measured_by: "module:Class" that measures it.
        alone: whether it must run alone on its machine.
    """

    suite: str
    measure: ClassVar[str]
    measured_by: ClassVar[str]
    alone: ClassVar[bool] = False
    run: ClassVar[None] = None
    work: ClassVar[int] = 0
    budget: ClassVar[int] = 0
    seed: ClassVar[int] = 0

    @cached_property
    def key(self) -> str:
        """Hash of its identity; names its record."""
        return spec_hash(self.identity())

    def identity(self) -> dict[str, Any]:
        """Identity of the cell; names are frozen."""
        return {"measure": self.measure, "suite": self.suite}

    def row(self) -> dict[str, Any]:
        """The cell as a line of a table; columns are those of `Cell.row`, empty where they do not apply."""
        model = getattr(self, "model", "")  # kinds of a single network have it
        known = {"suite": self.suite, "measure": self.measure, "model": model, "key": self.key}
        return {name: known.get(name, "") for name in CELL_COLUMNS}

    def spec(self) -> dict[str, Any]:
        """Description of the cell in its record."""
        return self.row() | {name: value for name, value in self.identity().items() if name != "measure"}


@dataclass(frozen=True)
class Footprint(Measurement):
    """Parameters and peak memory, computed for a network as configured: no weights are needed.

    Attributes:
        model: the contender's name.
        size: name of the network's size, e.g. "digits" or "XL/2".
        batch_size: images of a training step, or sampled at once.
        dtype: "fp32", "fp16" or "bf16".
        phase: "training" (one step) or "sampling" (with reuse).
        unroll: in training "multi-step" (n and m iterations) or "stochastic" (the mean of the memory over 1 to m
            iterations with gradient, after n without); "" for sampling.
        n, m: iterations without and with gradient, for a family that iterates; sampling takes n iterations.
        grad_checkpointing: whether training recomputes explicit blocks and iterations in backward.
    """

    model: str
    config: ModelConfig
    size: str
    batch_size: int
    dtype: str
    phase: str
    unroll: str
    n: int
    m: int
    grad_checkpointing: bool = False
    measure: ClassVar[str] = "footprint"
    measured_by: ClassVar[str] = "bench.profiling.footprint:Footprints"

    def identity(self) -> dict[str, Any]:
        return super().identity() | {
            "model": self.model,
            "config": self.config.identity(),
            "size": self.size,
            "batch_size": self.batch_size,
            "precision": self.dtype,
            "phase": self.phase,
            "unroll": self.unroll,
            "n": self.n,
            "m": self.m,
            "grad_checkpointing": self.grad_checkpointing,
        }

    def __str__(self) -> str:
        what = f"{self.phase} memory of {self.model} {self.size}, batch {self.batch_size}, {self.dtype}"
        if family_of(self.config).iterates and self.phase == "training":
            what += f", n = {self.n}, m {f'of 1 to {self.m}' if self.unroll == 'stochastic' else f'= {self.m}'}"
        return what + (", checkpointing" if self.grad_checkpointing else "")


def own_step(suite: Suite, contender: Contender) -> Footprint:
    """The contender's own training step on one device, with the most iterations that it takes."""
    recipe, share = contender.recipe, max(1, contender.recipe.batch_size // suite.gpus)
    settings = suite.name, share, suite.evaluation.dtype, "training", "multi-step"
    return Footprint(suite.name, contender.name, contender.config, *settings, recipe.n_max, recipe.m_max)


def published_step(suite: Suite, contender: Contender) -> Footprint:
    """The training step whose memory the paper reports (Sec. 4.3): 25.2 GB for DiT and 10.2 GB for FPDM."""
    n = m = PUBLISHED_ITERATIONS
    config = model_config(f"{contender.config.family}_xl_2")
    return Footprint(suite.name, contender.name, config, **PUBLISHED, phase="training", unroll="multi-step", n=n, m=m)


def in_paper(suite: Suite, contender: Contender) -> bool:
    """Whether the paper has the contender: its two networks are the baseline and the subject."""
    return contender.name in (suite.baseline_name, suite.subject_name)


def footprints(step: Footprint) -> list[Footprint]:
    """A training step in two dtypes, with and without checkpointing, and by m if the family iterates; and sampling.

    The last step of each setting is the mean over the unrolls of stochastic JFB. bf16 takes as many bytes as fp16.
    Sampling takes the same memory for any number of iterations.
    """
    found = []
    for dtype in ("fp16", "fp32"):
        for checkpointing in (False, True):
            one = replace(step, dtype=dtype, grad_checkpointing=checkpointing)
            unrolls = [replace(one, m=m) for m in WITH_GRAD] + [replace(one, unroll="stochastic")]
            found += unrolls if family_of(step.config).iterates else [one]
        found.append(replace(step, dtype=dtype, phase="sampling", unroll="", n=SAMPLED_WITH, m=0))
    return found


@dataclass(frozen=True)
class Speed(Measurement):
    """Seconds of networks' parts and of their sampling, measured side by side in rounds.

    Attributes:
        size: name of the networks' size, e.g. "digits" or "XL/2".
        configs: the networks by contender, the baseline first.
        batch_size: images at once.
        dtype: "fp32", "fp16" or "bf16".
        n_max, m_max: N and M of the training steps.
        compiled: whether parts are measured both eager and compiled, instead of sampling runs.
        budgets: block passes of the sampling runs.
        iterations: iterations of the sampling runs, for families that iterate.
        whole_machine: whether all threads are used, instead of the threads of one worker.
    """

    size: str
    configs: Mapping[str, ModelConfig]
    batch_size: int
    dtype: str
    n_max: int
    m_max: int
    compiled: bool = False
    budgets: tuple[int, ...] = BUDGETS
    iterations: tuple[int, ...] = (1, 2, 5, 12, 26)
    whole_machine: bool = False
    measure: ClassVar[str] = "speed"
    measured_by: ClassVar[str] = "bench.profiling.speed:Speeds"
    alone: ClassVar[bool] = True

    def __hash__(self) -> int:
        return hash(self.key)

    def identity(self) -> dict[str, Any]:
        networks = {name: config.identity() for name, config in self.configs.items()}
        return (
            super().identity()
            | networks
            | {
                "size": self.size,
                "batch_size": self.batch_size,
                "precision": self.dtype,
                "n_max": self.n_max,
                "m_max": self.m_max,
                "compiled": self.compiled,
                "budgets": list(self.budgets),
                "iterations": list(self.iterations),
                "whole_machine": self.whole_machine,
            }
        )

    def __str__(self) -> str:
        mode = ", eager and compiled" if self.compiled else ""
        return f"speed of {self.size} twins, batch {self.batch_size}, {self.dtype}{mode}"


def calibration(suite: Suite) -> Speed:
    """The speed cell whose record gives the suite's prices in seconds, at its evaluation's batch and dtype."""
    evaluation, recipe = suite.evaluation, suite.subject.recipe
    configs = {one.name: one.config for one in (suite.baseline, suite.subject)}
    settings = configs, evaluation.batch_size, evaluation.dtype, recipe.n_max, recipe.m_max
    return Speed(suite.name, suite.name, *settings)


def speeds(suite: Suite) -> list[Speed]:
    """The suite's networks at its evaluation batch, and XL/2 with one image at once; eager and compiled."""
    own, xl = calibration(suite), replace(_published_speed(suite), batch_size=1, dtype="fp32", iterations=(5,))
    return [replace(one, compiled=compiled) for one in (own, xl) for compiled in (False, True)]


def accelerator_speeds(suite: Suite) -> list[Speed]:
    """The paper's networks at batch 64 in three dtypes, eager and compiled: for a GPU."""
    xl, modes = _published_speed(suite), (False, True)
    return [replace(xl, dtype=dtype, compiled=mode) for dtype in ("fp32", "bf16", "fp16") for mode in modes]


def _published_speed(suite: Suite) -> Speed:
    configs = {one.name: model_config(f"{one.config.family}_xl_2") for one in (suite.baseline, suite.subject)}
    n_max = m_max = PUBLISHED_ITERATIONS
    return Speed(suite.name, configs=configs, **PUBLISHED, n_max=n_max, m_max=m_max, whole_machine=True)


@dataclass(frozen=True)
class Floor(Measurement):
    """Quality of held-out real images, which a perfect sampler would reach.

    Attributes:
        dataset: the dataset of the test split.
        images_digest: digest of that split.
        protocol: how many images are measured, and how; their labels are balanced like those of samples.
    """

    dataset: str
    images_digest: str
    protocol: Protocol
    measure: ClassVar[str] = "floor"
    measured_by: ClassVar[str] = "bench.evaluation.quality_cells:Floors"

    def identity(self) -> dict[str, Any]:
        return super().identity() | {
            "dataset": self.dataset,
            "images_digest": self.images_digest,
            "protocol": self.protocol.identity(),
        }

    def __str__(self) -> str:
        return f"floor of {self.suite}: {self.protocol.samples} real images of the test split"


def floors(suite: Suite, protocol: Protocol) -> list[Floor]:
    """The floor of a suite under a protocol: of as many held-out images as a cell has samples, or of half as many.

    None if there are still fewer. Samples have a Frechet distance of their halves too, which half as many compare with.
    """
    held_out = suite.own.held_out if suite.own else get_dataset(suite.dataset).held_out
    if held_out is None:
        return []
    count = next((n for n in (protocol.samples, protocol.samples // 2) if n <= held_out.count), 0)
    return [Floor(suite.name, suite.dataset, held_out.digest, replace(protocol, samples=count))] if count else []


AnyCell = Cell | Measurement
