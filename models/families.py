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
from models.config import COMMON, ModelConfig

if TYPE_CHECKING:
    from models.networks.network import Network


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
        iterates: whether a number of iterations has to be chosen.
        carries_state: whether a step can start from the state that the step before returned (Sec. 3.3, reuse).
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
    options: Mapping[str, Any] = field(default_factory=dict)
    renames: tuple[tuple[str, str], ...] = ()

    def least_passes(self, config: ModelConfig) -> int:
        """Block passes of the cheapest prediction."""
        return self.passes(config, 1 if self.iterates else 0)

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
    """Explicit blocks before and after an implicit layer."""
    return (config.n_pre or 0) + (config.n_post or 0)


def _fpdm_macs(config: ModelConfig, iterations: int) -> int:
    once = cost.modulation_macs(config) + cost.step_injection_macs(config)
    repeated = iterations * (cost.block_macs(config) + cost.injection_macs(config))
    return cost.shell_macs(config) + around(config) * explicit_macs(config) + once + repeated


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
        passes=lambda config, iterations: around(config) + iterations,
        macs=_fpdm_macs,
        parameters=lambda config: (
            cost.shell_parameters(config)
            + (around(config) + 1) * cost.block_parameters(config)
            + cost.injection_parameters(config)
        ),
        parts=lambda config, iterations: {"block": around(config), "binding": 1, "iteration": iterations},
        layout=lambda config, iterations: (config.n_pre or 0, iterations, config.n_post or 0),
        shape=lambda config: f"{config.n_pre}+k+{config.n_post}",
        injections=lambda config, iterations: iterations,
        iterates=True,
        carries_state=True,
        options={"n_pre": 1, "n_post": 1},
        renames=(
            (r"^blocks_pre\.", "pre."),
            (r"^blocks_post\.", "post."),
            (r"^block_fixed_point\.", "implicit.block."),
            (r"^block_pre_projection\.", "implicit.injection."),
            (r"^block_fixed_point_projection_fc1\.", "implicit.proj_fc1."),
            (r"^block_fixed_point_projection_fc2\.", "implicit.proj_fc2."),
        ),
    )
)
