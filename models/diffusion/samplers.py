"""Registry of samplers. Importing it loads no torch, so that names and labels can be listed quickly.

To add a sampler, register a function that makes its update for one sampling run; import what it needs inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from models.diffusion.timesteps import Step

if TYPE_CHECKING:
    from models.diffusion.schedule import NoiseSchedule
    from models.diffusion.updates import Update

Make: TypeAlias = "Callable[[NoiseSchedule, Sequence[Step]], Update]"


@dataclass(frozen=True)
class Sampler:
    """A sampler.

    Attributes:
        name: as on the command line and in records.
        label: as in tables and figures.
        make: (noise schedule, steps) -> the update of one run over these steps, called once a step, in order.
    """

    name: str
    label: str
    make: Make


SAMPLERS: dict[str, Sampler] = {}  # by name


def register(name: str, label: str) -> Callable[[Make], Make]:
    """Register the decorated function as `Sampler.make` of a new sampler."""

    def add(make: Make) -> Make:
        SAMPLERS[name] = Sampler(name, label, make)
        return make

    return add


def get_sampler(name: str) -> Sampler:
    """The sampler of this name.

    Raises:
        ValueError: unknown name.
    """
    if name not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {name!r}")
    return SAMPLERS[name]


@register("ddpm", "DDPM")
def _ddpm(noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> Update:
    from models.diffusion.updates import ddpm_update

    return ddpm_update


@register("ddim", "DDIM")
def _ddim(noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> Update:
    from models.diffusion.updates import ddim_update

    return ddim_update


@register("dpm++", "DPM-Solver++")
def _dpm_solver(noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> Update:
    from models.diffusion.multistep import Multistep, dpm_solver

    return Multistep(dpm_solver(), noise_schedule, steps)


@register("unipc", "UniPC")
def _unipc(noise_schedule: NoiseSchedule, steps: Sequence[Step]) -> Update:
    from models.diffusion.multistep import Multistep, unipc

    return Multistep(unipc(), noise_schedule, steps)
