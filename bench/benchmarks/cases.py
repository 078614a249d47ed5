"""What is timed: the twins' parts by size, precision and mode. Plain data, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.spec.measurements import BUDGETS, Speed, accelerator_speeds, speeds
from bench.spec.suites import get_suite
from bench.system.errors import BadInputError

MODES = ("eager", "compiled")
SIZES = ("digits", "xl_2", "tiny")
ITERATIONS = (5,)  # of FPDM's sampling runs


@dataclass(frozen=True)
class Case:
    """One benchmark.

    Attributes:
        twins: size, precision and batch size, in words.
        part: its name among the parts of `bench.profiling.speed.Twins`.
        mode: "eager" or "compiled".
        group: what it is printed beside.
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
        ("draw 64 of 512", "draw a batch"),
    )
)


def twins_of(size: str, device: str, precisions: Sequence[str], compiled: bool = True) -> list[Speed]:
    """Twins to be timed on a "cpu" or "cuda" device, by precision; compiled, too, or eager only.

    The paper's are sampled one image at once and at the smallest budget only on a CPU, else 64 at once. "tiny" are for
    trying the suite out.

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
            dit, fpdm = (replace(c, hidden_size=16, num_heads=2, depth=4) for c in (cell.dit, cell.fpdm))
            cell = replace(cell, size="tiny", dit=dit, fpdm=fpdm, batch_size=4, n_max=2, m_max=2, budgets=(28,))
    else:
        raise BadInputError(f"--sizes {size}: unknown; choose from {', '.join(SIZES)}")
    return [replace(cell, precision=p, compiled=compiled, iterations=ITERATIONS) for p in precisions]


def cases(cell: Speed) -> list[Case]:
    """The benchmarks of a pair of twins, those of a group one after the other."""
    both = {
        "one pass": ("block", "bare block", "iteration", "binding"),
        "all blocks": ("stack",),
        "one training step": ("dit training step", "fpdm training step"),
    }
    for budget in cell.budgets:
        sampled = (f"dit {budget}", *(f"fpdm {budget} k={k}" for k in cell.iterations))
        both[f"sampling, {budget} block passes"] = sampled
    eager_only = {
        "one pass": ("plain iteration",),
        "all blocks": ("plain stack",),
        "one training step": ("plain fpdm training step",),
        "a matrix product": ("product",),
    }
    modes = MODES if cell.compiled else MODES[:1]
    twins = f"{cell.size} {cell.precision}, batch {cell.batch_size}"
    found = []
    for name in both | eager_only:
        group = f"{twins}: {name}"
        found += [Case(twins, part, mode, group) for part in both.get(name, ()) for mode in modes]
        found += [Case(twins, part, "eager", group) for part in eager_only.get(name, ())]
    return found
