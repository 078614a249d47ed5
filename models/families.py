"""Registry of families: the kinds of network that are compared. Plain data; torch is imported when a network is built.

Adding a family is one file in `models/networks/` and one `register` here. Whoever needs to know what a network costs,
whether it iterates or what it is called asks its family.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models import cost
from models.config import COMMON, ITERATIONS, ModelConfig

if TYPE_CHECKING:
    from models.networks.network import Network

Counts = tuple[int, ...]  # a number a step, noisiest step first


@dataclass(frozen=True)
class Family:
    """A kind of network. Costs are those of one prediction for one image with a number of iterations.

    Attributes:
        name: in configurations and in `create_model`, e.g. "dit".
        label: for people, e.g. "DiT".
        network: "module:Class" of the network, called with the configuration's arguments. The class follows
            `models.networks.network`.
        passes: block passes, the paper's unit of cost (Sec. 4.2), which leaves injections out.
        macs: multiply-accumulates.
        parameters: trainable parameters.
        parts: how many of each timed part (`Network.timed_parts`) a sampling step consists of.
        layout: blocks before, iterations, and blocks after, as Figure 4 places the network.
        shape: of the blocks, for people, e.g. "28 blocks".
        injections: of an input into an iteration.
        iterates: whether a solver iterates, with a number of iterations that has to be chosen.
        carries_state: whether a step can start from the state that the step before returned (Sec. 3.3, reuse).
        counts: the number that `predict` gets at each step, from the schedule's numbers; the same numbers by default.
        schedule: a schedule in words: its configuration, its number and its steps, e.g. "5 x 40".
        settings: the numbers that a schedule may have, if they are no iterations and a grid's own do not apply.
        options: the family's own settings beside `COMMON`, with their defaults.
        renames: (pattern, replacement) pairs: names in released state dicts -> ours.
    """

    name: str
    label: str
    network: str
    passes: Callable[[ModelConfig, int], int]
    macs: Callable[[ModelConfig, int], int]
    parameters: Callable[[ModelConfig], int]
    parts: Callable[[ModelConfig, int], dict[str, int]]
    layout: Callable[[ModelConfig, int], tuple[int, int, int]]
    shape: Callable[[ModelConfig], str]
    injections: Callable[[ModelConfig, int], int] = lambda config, iterations: 0
    iterates: bool = False
    carries_state: bool = False
    counts: Callable[[ModelConfig, Counts], Counts] = lambda config, numbers: numbers
    schedule: Callable[[ModelConfig, int, int], str] = lambda config, number, steps: f"{number} x {steps}"
    settings: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    renames: tuple[tuple[str, str], ...] = ()

    def least_passes(self, config: ModelConfig) -> int:
        """Block passes of the cheapest sampling run of one step."""
        return self.passes(config, self.counts(config, (1 if self.iterates or self.settings else 0,))[0])

    def build(self, config: ModelConfig) -> Network:
        """Make the network of a configuration, freshly initialised from torch's global generator."""
        names = (*COMMON, *self.options)
        return pkgutil.resolve_name(self.network)(**{name: getattr(config, name) for name in names})


FAMILIES: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Add a family. ValueError if its name is taken."""
    if family.name in FAMILIES:
        raise ValueError(f"family {family.name!r} is registered already")
    FAMILIES[family.name] = family
    return family


def family_of(config: ModelConfig) -> Family:
    """The family of a configuration. ValueError if it is not registered."""
    if config.family not in FAMILIES:
        raise ValueError(f"unknown family {config.family!r}: choose one of {', '.join(FAMILIES)}")
    return FAMILIES[config.family]


def build(config: ModelConfig) -> Network:
    """Make the network of a configuration, freshly initialised from torch's global generator."""
    return family_of(config).build(config)


def forward_passes(config: ModelConfig, iterations: int = 0) -> int:
    """Block passes of one prediction for one image (see `Family.passes`)."""
    return family_of(config).passes(config, iterations)


def forward_macs(config: ModelConfig, iterations: int = 0) -> int:
    """Multiply-accumulates of one prediction for one image."""
    return family_of(config).macs(config, iterations)


def parameters(config: ModelConfig) -> int:
    """Trainable parameters."""
    return family_of(config).parameters(config)


def explicit_macs(config: ModelConfig) -> int:
    """An explicit block with its modulation."""
    return cost.block_macs(config) + cost.modulation_macs(config)


def around(config: ModelConfig) -> int:
    """Explicit blocks before and after an implicit or looped layer."""
    return (config.n_pre or 0) + (config.n_post or 0)


def loop_passes(config: ModelConfig, iterations: int) -> int:
    """Block passes of a loop and of the explicit blocks around it."""
    return around(config) + iterations * config.loop_blocks


def loop_macs(config: ModelConfig, iterations: int) -> int:
    """Multiply-accumulates of a network with a loop. The loop's modulations are computed once."""
    once = config.loop_blocks * cost.modulation_macs(config)
    repeated = iterations * config.loop_blocks * cost.block_macs(config)
    return cost.shell_macs(config) + around(config) * explicit_macs(config) + once + repeated


def loop_parameters(config: ModelConfig) -> int:
    """Parameters of a network with a loop."""
    return cost.shell_parameters(config) + (around(config) + config.loop_blocks) * cost.block_parameters(config)


def loop_shape(config: ModelConfig) -> str:
    """Blocks before, in and after a loop of k iterations."""
    return f"{config.n_pre}+{'' if config.loop_blocks == 1 else config.loop_blocks}k+{config.n_post}"


def _fpdm_macs(config: ModelConfig, iterations: int) -> int:
    injected = cost.step_injection_macs(config) + iterations * cost.injection_macs(config)
    return loop_macs(config, iterations) + injected


def _fpdm_parts(config: ModelConfig, iterations: int) -> dict[str, int]:
    parts = {"block": around(config), "binding": 1, "iteration": iterations}
    if more := config.loop_blocks - 1:  # of an iteration; their modulation is a block less a bare block
        parts |= {"block": around(config) + more, "bare block": more * (iterations - 1)}
    return parts


def _fpdm_schedule(config: ModelConfig, iterations: int, steps: int) -> str:
    return f"{iterations} x {steps}" + ("" if config.reuse_mix == 1 else f", g = {config.reuse_mix:g}")


def _looped_parts(config: ModelConfig, iterations: int) -> dict[str, int]:
    in_loop = config.loop_blocks
    return {"block": around(config) + in_loop, "bare block": in_loop * (iterations - 1)}


def _cached_counts(config: ModelConfig, periods: Counts) -> Counts:
    """How many blocks each step runs: all at the first of every `period` steps, the outer ones at the others."""
    return tuple(around(config) if i % period else config.depth for i, period in enumerate(periods))


DIT = register(
    Family(
        name="dit",
        label="DiT",
        network="models.networks.dit:DiT",
        passes=lambda config, iterations: config.depth,
        macs=lambda config, iterations: cost.shell_macs(config) + config.depth * explicit_macs(config),
        parameters=lambda config: cost.shell_parameters(config) + config.depth * cost.block_parameters(config),
        parts=lambda config, iterations: {"block": config.depth},
        layout=lambda config, iterations: (1, config.depth - 2, 1),  # caption of Figure 4
        shape=lambda config: f"{config.depth} blocks",
    )
)

FPDM = register(
    Family(
        name="fpdm",
        label="FPDM",
        network="models.networks.fpdm:FPDM",
        passes=loop_passes,
        macs=_fpdm_macs,
        parameters=lambda config: loop_parameters(config) + cost.injection_parameters(config),
        parts=_fpdm_parts,
        layout=lambda config, iterations: (config.n_pre or 0, iterations, config.n_post or 0),
        shape=loop_shape,
        injections=lambda config, iterations: iterations,
        iterates=True,
        carries_state=True,
        schedule=_fpdm_schedule,
        options={"n_pre": 1, "n_post": 1, "loop_blocks": 1, "reuse_mix": 1.0, "iterations": ITERATIONS},
        renames=(
            (r"^blocks_pre\.", "pre."),
            (r"^blocks_post\.", "post."),
            (r"^block_fixed_point\.", "implicit.blocks.0."),
            (r"^block_pre_projection\.", "implicit.injection."),
            (r"^block_fixed_point_projection_fc1\.", "implicit.proj_fc1."),
            (r"^block_fixed_point_projection_fc2\.", "implicit.proj_fc2."),
        ),
    )
)

LOOPED = register(
    Family(
        name="looped",
        label="Looped",
        network="models.networks.looped:Looped",
        passes=loop_passes,
        macs=loop_macs,
        parameters=loop_parameters,
        parts=_looped_parts,
        layout=lambda config, iterations: (config.n_pre or 0, iterations, config.n_post or 0),
        shape=lambda config: f"{loop_shape(config)}, looped",
        iterates=True,
        options={"n_pre": 1, "n_post": 1, "loop_blocks": 1, "iterations": ITERATIONS},
    )
)

CACHED_DIT = register(
    Family(  # the number of a schedule is the period of its full steps; `predict` gets the number of blocks that run
        name="dit_cached",
        label="DiT, cached",
        network="models.networks.cached_dit:CachedDiT",
        passes=lambda config, blocks: blocks,
        macs=lambda config, blocks: cost.shell_macs(config) + blocks * explicit_macs(config),
        parameters=DIT.parameters,
        parts=lambda config, blocks: {"block": blocks},
        layout=lambda config, period: (config.n_pre or 0, period, config.n_post or 0),
        shape=lambda config: f"{config.depth} blocks, {around(config)} at cached steps",
        carries_state=True,
        counts=_cached_counts,
        schedule=lambda config, period, steps: f"{steps} steps, full every {period}, j = {config.n_pre}",
        settings=(2, 4),
        options={"n_pre": 1, "n_post": 1},
    )
)
