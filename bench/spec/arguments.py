"""Groups of options that the commands share: contenders, training, execution, folders.

Each group is a frozen dataclass whose fields are options. A command has groups as fields, whose docstrings are the
titles in `--help`.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from bench.spec.accounts import ACCOUNTS
from bench.spec.contenders import Suite
from bench.spec.selection import Selection
from bench.spec.suites import SUITES, get_suite
from bench.system.errors import BadInputError
from bench.system.execution import Execution

if TYPE_CHECKING:
    import torch

VAE = "stabilityai/sd-vae-ft-ema"  # DiT is trained on its latents
Group = TypeVar("Group")
NAMES = tuple(dict.fromkeys(name for suite in SUITES.values() for name in suite.names))


def one_of(*choices: str) -> str:
    """Choices for a help text."""
    return f"one of {', '.join(choices)}"


@dataclass(frozen=True)
class Training:
    """How contenders are trained, where it differs from the suite."""

    size: str | None = None
    """Size and patch of all networks, for example S/2. Default: the suite's. The paper uses XL/2."""
    batch_size: int | None = None
    """Training batch over all ranks, a multiple of their number. Default: the suite's."""
    train_seconds: float | None = None
    """Seconds of training clock for each contender. Default: the suite's."""
    train_steps: int | None = None
    """Train for this many optimizer steps instead of seconds: exactly repeatable, but not for equal time."""


@dataclass(frozen=True)
class Running:
    """Where and how networks run."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    compile: bool = False
    """Compile blocks and iterations before use. Compilation counts neither as training nor as sampling time."""
    grad_checkpointing: bool = False
    """Recompute blocks and iterations in the backward pass: less memory and more time in training."""
    micro_batch: int | None = None
    """Images per forward and backward pass on each device; gradients are accumulated. Default: as many as fit."""

    def check(self) -> None:
        """BadInputError for invalid values, whatever the machine."""
        if self.micro_batch is not None and self.micro_batch < 1:
            raise BadInputError(f"--micro-batch {self.micro_batch}: must be 1 or more")

    def chosen(self) -> "tuple[torch.device, Execution]":
        """Device and execution. BadInputError if the machine lacks either."""
        from bench.system.devices import can_compile, pick_device

        self.check()
        device = pick_device(self.device)
        if self.compile and not can_compile(device):
            raise BadInputError("--compile: there is no C++ compiler; install g++, or leave the option out")
        return device, Execution(self.compile, self.grad_checkpointing, self.micro_batch)


@dataclass(frozen=True)
class Results:
    """Where results lie."""

    results: Path = Path("results")
    """Results folder."""


@dataclass(frozen=True)
class Places(Results):
    """Where results, datasets and weights of others lie."""

    data: Path | None = None
    """Folder with the files of Fashion-MNIST; by default data, or where Debian's dataset-fashion-mnist has them."""
    prepared: Path = Path("prepared")
    """Output of bench/encode_latents.py and bench/reference.py: a folder for each suite."""
    vae: str | None = None
    """Hub id or folder of the autoencoder; default: the one that encoded the latents."""
    inception_weights: Path | None = None
    """File with the weights of the Inception features; by default torch-fidelity's download."""

    def latents(self, suite: str) -> Path:
        """The folder of a suite's latents."""
        return self.prepared / suite / "latents"


@dataclass(frozen=True)
class What:
    """Which contenders of which suite."""

    suite: Annotated[str, tyro.conf.arg(help=f"Dataset with its contenders: {one_of(*SUITES)}.")] = "digits"
    models: Annotated[
        tuple[str, ...] | None,
        tyro.conf.arg(help=f"Contenders to use: some of {', '.join(NAMES)}. Default: those of the grid."),
    ] = None


@dataclass(frozen=True)
class Which(What):
    """Which cells of a suite's grids."""

    budget: tuple[int, ...] | None = None
    """Sampling budgets, in block passes per image of the baseline. Default: the grid's own, such as 140 280 560."""
    account: Annotated[
        str,
        tyro.conf.arg(
            help=f"Cost that is equal for all contenders at a budget: {one_of(*ACCOUNTS)}. The paper uses blocks."
        ),
    ] = "blocks"
    samples: int | None = None
    """Generated images per cell and seed. Default: the suite's."""
    seeds: tuple[int, ...] | None = None
    """Replicates: each is a sampling seed and, for the suite's contenders, a training seed. Default: the suite's."""


def suite_of(what: What, training: Training) -> Suite:
    """The suite in the requested size. BadInputError for an unknown suite or contender."""
    suite = get_suite(what.suite, training.size, training.batch_size)
    suite.chosen(what.models)
    return suite


def selection_of(which: What, training: Training) -> Selection:
    """The selected part of the grids. BadInputError for invalid values."""
    chosen = which if isinstance(which, Which) else Which(which.suite, which.models)
    return Selection(
        budgets=chosen.budget,
        models=chosen.models,
        samples=chosen.samples,
        seeds=chosen.seeds,
        train_seconds=training.train_seconds,
        train_steps=training.train_steps,
        account=chosen.account,
    )


def only(kind: type[Group], group: Any) -> Group:
    """The options of a group that belong to one of its base classes, as that class."""
    return kind(**{field.name: getattr(group, field.name) for field in fields(kind)})  # type: ignore[arg-type]


def flags(*groups: Any) -> list[str]:
    """The command-line options of these groups whose values differ from the defaults."""
    found: list[str] = []
    for group in groups:
        for field in fields(group):
            value = getattr(group, field.name)
            if value != field.default:
                values = value if isinstance(value, tuple) else (value,)
                found += [f"--{field.name.replace('_', '-')}", *map(str, values)]
    return found


def variant_of(which: Which, training: Training) -> str:
    """A folder name for tables and figures of these cells; empty for a suite's default cells."""
    suite, names, seeds = get_suite(which.suite), which.models, which.seeds
    default = names is not None and suite.chosen(names) == suite.chosen(None)
    seeds = None if seeds == suite.evaluation.seeds else seeds
    what, rest = What(models=None if default else names), replace(which, suite="digits", models=None, seeds=seeds)
    return "-".join(flags(what, training, rest)).replace("--", "").replace("_", "-").replace("/", "-")
