"""Groups of options that the commands share: contenders, training, execution, folders.

Each group is a frozen dataclass whose fields are options. A command has groups as fields, whose docstrings are the
titles in `--help`.
"""

from dataclasses import dataclass, fields, replace
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from bench.machine.execution import Execution
from bench.spec.accounts import ACCOUNTS
from bench.spec.contenders import SAMPLING_DTYPES, Contender, Elsewhere, Suite
from bench.spec.datasets import OWN, OwnImages
from bench.spec.selection import Selection
from bench.spec.suites import SUITES, get_suite
from bench.system.errors import BadInputError
from models.process import OBJECTIVES, Process

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
    classes: str | None = None
    """Number of classes, for a dataset that has others than the published one; for --suite folder: from-folders or
    none. Default: the suite's; none."""
    train_seconds: float | None = None
    """Seconds of training clock for each contender. Default: the suite's."""
    train_steps: int | None = None
    """Train for this many optimizer steps instead of seconds: exactly repeatable, but not for equal time."""
    weights: Path | None = None
    """File with a state dict of the official DiT or the released FPDM. It adds a contender `elsewhere`, which is not
    trained here: nothing is said of equal time."""
    weights_of: str = "dit"
    """Contender whose network --weights are of."""
    objective: Annotated[str, tyro.conf.arg(help=f"What --weights predict: {one_of(*OBJECTIVES)}.")] = "epsilon"


@dataclass(frozen=True)
class Running:
    """Where and how networks run."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile blocks and iterations before use. Compilation counts neither as training nor as sampling time. auto: for
    training by the clock on a CPU."""
    grad_checkpointing: bool = False
    """Recompute blocks and iterations in the backward pass: less memory and more time in training."""
    micro_batch: int | None = None
    """Images per forward and backward pass on each device; gradients are accumulated. Default: as many as fit."""
    side_by_side: int = 1
    """Contenders that train at the same time, each with its share of a CPU's cores. By default they take turns."""

    def check(self) -> None:
        """BadInputError for invalid values, whatever the machine."""
        if self.micro_batch is not None and self.micro_batch < 1:
            raise BadInputError(f"--micro-batch {self.micro_batch}: must be 1 or more")
        if self.side_by_side < 1:
            raise BadInputError(f"--side-by-side {self.side_by_side}: must be 1 or more")

    def chosen(self) -> "tuple[torch.device, Execution]":
        """Device and execution. BadInputError if the machine lacks either."""
        from bench.machine.compiler import why_not_compile
        from bench.machine.devices import pick_device, stay_within_cores

        self.check()
        stay_within_cores()
        device = pick_device(self.device)
        if self.compile == "on" and (reason := why_not_compile(device)):
            language, variable, usual = ("C++", "CXX", "g++") if device.type == "cpu" else ("C", "CC", "gcc")
            raise BadInputError(
                f"--compile on: torch cannot compile here ({reason}); install {usual}, let {variable} name a "
                f"{language} compiler that works, or leave the option out"
            )
        compiled = {"auto": None, "on": True, "off": False}[self.compile]
        return device, Execution(compiled, self.grad_checkpointing, self.micro_batch)


@dataclass(frozen=True)
class Results:
    """Where results lie."""

    results: Path = Path("results")
    """Results folder."""


@dataclass(frozen=True)
class Places(Results):
    """Where results, datasets and weights of others lie."""

    data: Path | None = None
    """For --suite folder: your images, a folder or zip file. For Fashion-MNIST: the folder of its files; by default
    data, or where Debian's dataset-fashion-mnist has them."""
    held_out: Path | None = None
    """For --suite folder: images that nothing is trained on, a folder or zip file, to measure the floor with."""
    prepared: Path = Path("prepared")
    """Output of bench/encode_latents.py and bench/reference.py: a folder for each suite."""
    vae: str | None = None
    """Hub id or folder of the autoencoder; default: the one that encoded the latents."""
    inception_weights: Path | None = None
    """File with the weights of the Inception features; by default torch-fidelity's download."""
    dinov2_weights: Path | None = None
    """File with DINOv2's weights: measure the Frechet distance in its features too, of 256-pixel suites whose reference
    has them (bench/reference.py)."""

    def latents(self, suite: str) -> Path:
        """The folder of a suite's latents."""
        return self.prepared / suite / "latents"


@dataclass(frozen=True)
class What:
    """Which contenders of which suite."""

    suite: Annotated[
        str, tyro.conf.arg(help=f"Dataset with its contenders: {one_of(*SUITES)}, or {OWN} for your own images.")
    ] = "digits"
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
    seeds: Annotated[tuple[int, ...] | None, tyro.conf.arg(aliases=["--seed"])] = None
    """Replicates: each is a sampling seed and, for the suite's contenders, a training seed. Default: the suite's."""
    dtype: Annotated[
        str | None, tyro.conf.arg(help=f"Arithmetic of sampling: {one_of(*SAMPLING_DTYPES)}. Default: the suite's.")
    ] = None


def suite_of(what: What, training: Training, own: OwnImages | None = None) -> Suite:
    """The suite in the requested size; `own` as in `get_suite`. BadInputError for an unknown suite or contender."""
    classes = None
    if what.suite != OWN and training.classes is not None:
        if not training.classes.isdecimal():
            raise BadInputError(f"--classes {training.classes}: give a number; words are for --suite {OWN}")
        classes = int(training.classes)
    suite = get_suite(what.suite, training.size, training.batch_size, classes, own)
    if training.weights is not None:
        suite = replace(suite, contenders=(*suite.contenders, _elsewhere(suite, training, training.weights)))
    suite.chosen(what.models)
    return suite


def _elsewhere(suite: Suite, training: Training, path: Path) -> Contender:
    """The contender of weights in a file. Released weights that predict noise have no zero terminal SNR."""
    try:
        process = Process(training.objective, zero_terminal_snr=training.objective == "velocity")
    except ValueError as error:
        raise BadInputError(f"--objective {training.objective}: {error}") from error
    network = suite.contender(training.weights_of)
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise BadInputError(f"--weights {path}: cannot be read ({error.strerror or error})") from error
    label = f"{network.label}, elsewhere"
    weights = Elsewhere(digest, process)
    return Contender("elsewhere", network.config, network.recipe, label, "#000000", "*", elsewhere=weights)


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
        dtype=chosen.dtype,
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


def variant_of(which: Which, training: Training, own: OwnImages | None = None) -> str:
    """A folder for tables and figures of these cells, which git ignores; empty for a suite's default cells."""
    suite, names, seeds = get_suite(which.suite, own=own), which.models, which.seeds
    training = replace(training, classes=None) if own else training
    default = names is not None and suite.chosen(names) == suite.chosen(None)
    seeds = None if seeds == suite.evaluation.seeds else seeds
    dtype = None if which.dtype == suite.evaluation.dtype else which.dtype
    what = What(models=None if default else names)
    rest = replace(which, suite="digits", models=None, seeds=seeds, dtype=dtype)
    name = "-".join(flags(what, training, rest)).replace("--", "").replace("_", "-").replace("/", "-")
    return f"parts/{name}" if name else ""
