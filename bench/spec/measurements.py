"""Cells that need no trained weights: what a network takes, whatever it has learned. Plain data, no torch."""

import dataclasses
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from bench.spec.cells import CELL_COLUMNS, Cell, Protocol, spec_hash
from bench.spec.datasets import HELD_OUT
from bench.spec.suites import Suite
from models.zoo import ModelConfig, model_config

BUDGETS = (140, 280, 560)  # block passes (Table 1): a DiT of 28 blocks takes 5, 10 and 20 steps
WITH_GRAD = (1, 3, 6, 12)  # m of the training steps whose memory is compared
PUBLISHED: dict[str, Any] = {"size": "XL/2", "batch_size": 64, "precision": "fp16"}  # what the paper reports memory of
PUBLISHED_ITERATIONS = 12  # N = M (Sec. 4.1)
SAMPLED_WITH = 8  # iterations, as in FPDM's sample grids


@dataclass(frozen=True)
class Measurement:
    """What every cell without a training run is; its subclasses say what is measured."""

    suite: str
    measure: ClassVar[str]
    run: ClassVar[None] = None
    work: ClassVar[int] = 0
    budget: ClassVar[int] = 0
    seed: ClassVar[int] = 0

    @cached_property
    def key(self) -> str:
        """Its identity; names its record."""
        return spec_hash({"measure": self.measure} | dataclasses.asdict(self))

    def row(self) -> dict[str, Any]:
        """The cell as a line of a table; columns are those of `Cell.row`, empty where they do not apply."""
        model = getattr(self, "model", "")  # of a single network
        known = {"suite": self.suite, "measure": self.measure, "model": model, "key": self.key}
        return {name: known.get(name, "") for name in CELL_COLUMNS}


@dataclass(frozen=True)
class Footprint(Measurement):
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
    measure: ClassVar[str] = "footprint"

    def __str__(self) -> str:
        what = f"{self.phase} memory of {self.model} {self.size}, batch {self.batch_size}, {self.precision}"
        if self.config.implicit and self.phase == "training":
            what += f", n = {self.n}, m {f'of 1 to {self.m}' if self.unroll == 'stochastic' else f'= {self.m}'}"
        return what + (", checkpointing" if self.grad_checkpointing else "")


def own_step(suite: Suite, model: str) -> Footprint:
    """The suite's own training step of "dit" or "fpdm" on one device, with as many iterations as it has at most."""
    recipe, share = suite.training, max(1, suite.training.batch_size // suite.gpus)
    settings = suite.name, share, suite.evaluation.precision, "training", "multi-step"
    return Footprint(suite.name, model, suite.model(model), *settings, recipe.n_max, recipe.m_max)


def published_step(suite: Suite, model: str) -> Footprint:
    """The training step whose memory the paper reports (Sec. 4.3): 25.2 and 10.2 GB."""
    n = m = PUBLISHED_ITERATIONS
    config = model_config(f"{model}_xl_2")
    return Footprint(suite.name, model, config, **PUBLISHED, phase="training", unroll="multi-step", n=n, m=m)


def footprints(step: Footprint) -> list[Footprint]:
    """A training step in both precisions, with and without checkpointing and, of FPDM, by m; and sampling.

    FPDM's last step of each setting is the mean over the draws of stochastic JFB. bf16 takes what fp16 does, to the
    byte. Sampling takes the same whatever the iterations.
    """
    found = []
    for precision in ("fp16", "fp32"):
        for checkpointing in (False, True):
            one = replace(step, precision=precision, grad_checkpointing=checkpointing)
            unrolls = [replace(one, m=m) for m in WITH_GRAD] + [replace(one, unroll="stochastic")]
            found += unrolls if step.config.implicit else [one]
        found.append(replace(step, precision=precision, phase="sampling", unroll="", n=SAMPLED_WITH, m=0))
    return found


@dataclass(frozen=True)
class Speed(Measurement):
    """Seconds of the twins' parts and of their sampling, measured side by side in rounds.

    Attributes:
        size: what the twins are called, e.g. "digits" or "XL/2".
        batch_size: images at once.
        precision: "fp32", "fp16" or "bf16".
        n_max, m_max: N and M of the training steps.
        compiled: whether parts are measured eager and compiled, side by side, instead of sampling runs.
        budgets, iterations: block passes of the sampling runs, and iterations of FPDM's.
        whole_machine: with all threads, not as one of the workers that share a CPU.
    """

    size: str
    dit: ModelConfig
    fpdm: ModelConfig
    batch_size: int
    precision: str
    n_max: int
    m_max: int
    compiled: bool = False
    budgets: tuple[int, ...] = BUDGETS
    iterations: tuple[int, ...] = (1, 2, 5, 12, 26)
    whole_machine: bool = False
    measure: ClassVar[str] = "speed"

    def __str__(self) -> str:
        mode = ", eager and compiled" if self.compiled else ""
        return f"speed of {self.size} twins, batch {self.batch_size}, {self.precision}{mode}"


def calibration(suite: Suite) -> Speed:
    """The speed cell whose record prices the suite's steps in seconds: its twins, sampled as its cells are."""
    batch_size, precision, recipe = suite.evaluation.batch_size, suite.evaluation.precision, suite.training
    return Speed(suite.name, suite.name, suite.dit, suite.fpdm, batch_size, precision, recipe.n_max, recipe.m_max)


def speeds(suite: Suite) -> list[Speed]:
    """The suite's twins at its evaluation batch, and those of the paper's size, one image at once; eager, compiled."""
    own, xl = calibration(suite), replace(_published_twins(suite), batch_size=1, precision="fp32", iterations=(5,))
    return [replace(twins, compiled=compiled) for twins in (own, xl) for compiled in (False, True)]


def accelerator_speeds(suite: Suite) -> list[Speed]:
    """The paper's twins at batch 64 in three precisions, eager and compiled: for a GPU."""
    xl, modes = _published_twins(suite), (False, True)
    return [replace(xl, precision=p, compiled=mode) for p in ("fp32", "bf16", "fp16") for mode in modes]


def _published_twins(suite: Suite) -> Speed:
    dit, fpdm = model_config("dit_xl_2"), model_config("fpdm_xl_2")
    n_max = m_max = PUBLISHED_ITERATIONS
    return Speed(suite.name, dit=dit, fpdm=fpdm, **PUBLISHED, n_max=n_max, m_max=m_max, whole_machine=True)


@dataclass(frozen=True)
class Floor(Measurement):
    """Distance between real images that nothing was trained on and the reference: what a perfect sampler would get.

    Attributes:
        dataset: whose test split they are of.
        images_digest: of that split.
        protocol: how, and how many: with labels that go round, as those of samples do.
    """

    dataset: str
    images_digest: str
    protocol: Protocol
    measure: ClassVar[str] = "floor"

    def __str__(self) -> str:
        return f"floor of {self.suite}: {self.protocol.samples} real images of the test split"


def floors(suite: Suite, protocol: Protocol) -> list[Floor]:
    """The floor of a suite under a protocol, if its dataset has a test split of as many images."""
    digest, count = HELD_OUT.get(suite.dataset, ("", 0))
    return [Floor(suite.name, suite.dataset, digest, protocol)] if protocol.samples <= count else []


AnyCell = Cell | Footprint | Speed | Floor
