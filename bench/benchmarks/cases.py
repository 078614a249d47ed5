"""The list of benchmarks: parts of DiT and FPDM by size, dtype and mode. Plain data, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.spec.measurements import BUDGETS, Speed, accelerator_speeds, speeds
from bench.spec.suites import get_suite
from bench.system.errors import BadInputError
from models.families import family_of

MODES = ("eager", "compiled")
SIZES = ("digits", "xl_2", "tiny")
ITERATIONS = (5,)  # of FPDM, in each step of its sampling runs


@dataclass(frozen=True)
class Case:
    """One benchmark.

    Attributes:
        twins: size, dtype and batch size, as text.
        part: a name among the parts of `bench.profiling.speed.Networks`.
        mode: "eager" or "compiled".
        group: title of the table that has its row.
    """

    twins: str
    part: str
    mode: str
    group: str


LATENTS = tuple(
    Case("latents 32x32x4, batch 64", part, "eager", f"latents: {group}")
    for part, group in (
        ("read from shards", "read a batch"),
        ("read a file per image", "read a batch"),
        ("make 64 of 512", "make a batch"),
    )
)


def networks_of(size: str, device: str, dtypes: Sequence[str], compiled: bool = True) -> list[Speed]:
    """Networks to time, one for each dtype in `dtypes`.

    Args:
        size: one of SIZES. On a CPU, xl_2 samples one image at a time at the smallest budget; on a GPU, 64 images.
        device: "cpu" or "cuda".
        dtypes: "fp32", "fp16", "bf16".
        compiled: whether to time compiled networks as well as eager ones.

    Raises:
        BadInputError: unknown size.
    """
    suite = get_suite("digits")
    if size == "xl_2":
        cell = next(c for c in speeds(suite) if c.size == "XL/2")
        cell = replace(cell, budgets=BUDGETS[:1]) if device == "cpu" else accelerator_speeds(suite)[0]
    elif size in SIZES:
        cell = next(c for c in speeds(suite) if c.size == "digits")
        if size == "tiny":
            small = {name: replace(c, hidden_size=16, num_heads=2, depth=4) for name, c in cell.configs.items()}
            cell = replace(cell, size="tiny", configs=small, batch_size=4, n_max=2, m_max=2, budgets=(28,))
    else:
        raise BadInputError(f"--sizes {size}: unknown; choose from {', '.join(SIZES)}")
    return [replace(cell, dtype=dtype, compiled=compiled, iterations=ITERATIONS) for dtype in dtypes]


def cases(cell: Speed) -> list[Case]:
    """The benchmarks of a cell's networks, ordered by group."""
    iterating = [name for name, config in cell.configs.items() if family_of(config).iterates]
    both: dict[str, tuple[str, ...]] = {
        "one pass": ("block", "bare block", "iteration", "binding"),
        "all blocks": ("stack",),
        "one training step": tuple(f"{name} training step" for name in cell.configs),
    }
    for budget in cell.budgets:
        both[f"sampling, {budget} block passes"] = tuple(
            f"{name} {budget}" + (f" k={k}" if k else "")
            for name in cell.configs
            for k in (cell.iterations if name in iterating else (0,))
        )
    eager_only: dict[str, tuple[str, ...]] = {
        "one pass": ("plain iteration",),
        "all blocks": ("plain stack",),
        "one training step": tuple(f"plain {name} training step" for name in iterating),
        "a matrix product": ("product",),
    }
    modes = MODES if cell.compiled else MODES[:1]
    twins = f"{cell.size} {cell.dtype}, batch {cell.batch_size}"
    found = []
    for name in both | eager_only:
        group = f"{twins}: {name}"
        found += [Case(twins, part, mode, group) for part in both.get(name, ()) for mode in modes]
        found += [Case(twins, part, "eager", group) for part in eager_only.get(name, ())]
    return found
