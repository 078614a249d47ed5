"""What the command lines share: the choice of cells, parsing through tyro, bad input as one line and exit status 2."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.spec.assets import Assets
from bench.spec.selection import Selection
from bench.spec.suites import MODELS, Suite, get_suite
from bench.system.errors import BadInputError
from bench.system.execution import Execution

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainingArguments:
    """Which training runs of a suite, and where their results lie."""

    suite: str = "digits"
    """What is compared on what: digits, fashion, fashion-cpu, imagenet, celebahq, ffhq or church."""
    models: tuple[str, ...] = MODELS
    """Which of the twins."""
    size: str | None = None
    """Twins of another size and patch, as S/2, where the suite has XL/2: not the comparison that the paper makes."""
    batch_size: int | None = None
    """Training batch over all ranks, a multiple of their number; the suite's own by default."""
    train_seconds: float | None = None
    """Training clock of each model, in seconds; the suite's own by default."""
    train_steps: int | None = None
    """Train this many optimizer steps instead: exactly repeatable, but not an equal-time comparison."""
    results: Path = Path("results")
    """Results folder."""

    def chosen_suite(self) -> Suite:
        """The suite, as sized here. BadInputError if there is none such."""
        return get_suite(self.suite, self.size, self.batch_size)


@dataclass(frozen=True)
class ExecutionArguments:
    """On what and how networks are run."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    compile: bool = False
    """Compile blocks and iterations first; off the training clock, and not counted as sampling."""
    grad_checkpointing: bool = False
    """Train in less memory and more seconds: recompute blocks and iterations in backward."""
    micro_batch: int | None = None
    """Images that a training step takes at once on each device, gradients accumulated; as many as fit by default."""

    def check(self) -> None:
        """BadInputError for values that make no sense, whatever the machine."""
        if self.micro_batch is not None and self.micro_batch < 1:
            raise BadInputError(f"--micro-batch {self.micro_batch}: must be 1 or more")

    def chosen(self) -> "tuple[torch.device, Execution]":
        """Device and execution. BadInputError for what is not there."""
        from bench.system.environment import can_compile, pick_device

        self.check()
        device = pick_device(self.device)
        if self.compile and not can_compile(device):
            raise BadInputError("--compile: there is no C++ compiler; install g++, or leave the option out")
        return device, Execution(self.compile, self.grad_checkpointing, self.micro_batch)


@dataclass(frozen=True)
class AssetArguments:
    """Where the things lie that suites need and the repository does not hold."""

    data: Path | None = None
    """Folder with the files of Fashion-MNIST; by default data, or where Debian's dataset-fashion-mnist has them."""
    prepared: Path = Path("prepared")
    """What bench/encode_latents.py and bench/reference.py wrote: a folder for each suite."""
    vae: str | None = None
    """Hub id or folder of the autoencoder; by default where the latents were encoded with it."""
    inception_weights: Path | None = None
    """File with the weights of the Inception features; by default torch-fidelity's download."""

    def assets(self) -> Assets:
        """The same as what the harness takes."""
        return Assets(self.prepared, self.vae, self.inception_weights, self.data)


@dataclass(frozen=True)
class CellArguments(TrainingArguments):
    """Which cells of a suite's grids, and where their results lie."""

    budget: tuple[int, ...] | None = None
    """Sampling budgets, in block passes per image of DiT; the grid's own by default (140, 280, 560 or one)."""
    account: str = "blocks"
    """What FPDM may spend of a budget: as many blocks (the paper's account), macs or seconds as DiT spends on it."""
    samples: int | None = None
    """Generated images per cell and seed; the suite's own by default."""
    seeds: tuple[int, ...] | None = None
    """Replicates: each is a sampling seed and, for the suite's own twins, a training seed; 0 1 2 by default."""

    def selection(self) -> Selection:
        """The part of the grid that is asked for. BadInputError for values that make no sense."""
        return Selection(
            budgets=self.budget,
            models=self.models,
            samples=self.samples,
            seeds=self.seeds,
            train_seconds=self.train_seconds,
            train_steps=self.train_steps,
            account=self.account,
        )

    def flags(self) -> list[str]:
        """The command line that gives these cells: whatever differs from the defaults."""
        flags = []
        for field in fields(CellArguments):
            value = getattr(self, field.name)
            if value != field.default:
                values = value if isinstance(value, tuple) else (value,)
                flags += [f"--{field.name.replace('_', '-')}", *map(str, values)]
        return flags

    def variant(self) -> str:
        """A folder name for tables and figures of these cells; empty for a suite's default cells."""
        flags = replace(self, suite="digits", results=Path("results")).flags()
        return "-".join(flags).replace("--", "").replace("_", "-").replace("/", "-")
