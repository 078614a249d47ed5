"""Registry of samplers: what each is called, how it is drawn, how often it evaluates the network, and its update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from models.diffusion.timesteps import Step

if TYPE_CHECKING:
    from torch import Tensor

    from models.diffusion.schedule import NoiseSchedule

Evaluate: TypeAlias = "Callable[[Tensor, int], Tensor]"  # the network's prediction at x and a timestep
Draw: TypeAlias = "Callable[[], Tensor]"  # new noise
# x_prev of a step; x is float32, (batch, channels, size, size)
Update: TypeAlias = "Callable[[Tensor, Step, Evaluate, Draw], Tensor]"
Make: TypeAlias = "Callable[[NoiseSchedule, Sequence[Step]], Update]"


@dataclass(frozen=True)
class Sampler:
    """A sampler.

    Attributes:
        name: as on the command line and in records.
        label, color, marker: in tables and figures (matplotlib's color and marker).
        make: (noise schedule, steps) -> the update of one run over these steps, called once a step, in order.
        evaluations: of the network, a step. Budgets, costs and accounts follow from it.
        last_order: order of the step to the data, which makes no more evaluations than its order.
    """

    name: str
    label: str
    color: str
    marker: str
    make: Make
    evaluations: int = 1
    last_order: int = 1

    @property
    def last_evaluations(self) -> int:
        """Evaluations of the step to the data."""
        return min(self.evaluations, self.last_order)

    def at(self, step: Step) -> int:
        """Evaluations of a step."""
        return self.evaluations if step.t_prev >= 0 else self.last_evaluations

    def steps(self, evaluations: int) -> int:
        """The most steps that make at most so many evaluations in all."""
        return max(0, 1 + (evaluations - self.last_evaluations) // self.evaluations)

    def alike(self, steps: int) -> tuple[int, ...]:
        """The steps of a run, divided into those of equally many evaluations: all, or all but the last and the last."""
        return (steps,) if self.last_evaluations == self.evaluations else (steps - 1, 1)

    def tally(self, numbers: Sequence[int]) -> Counter[int]:
        """How many evaluations a run makes with each number of iterations, from those of its steps."""
        made = Counter({number: self.evaluations * steps for number, steps in Counter(numbers).items()})
        if numbers:
            made[numbers[-1]] -= self.evaluations - self.last_evaluations
        return made


SAMPLERS: dict[str, Sampler] = {}  # by name, in the order of grids and tables


def register(
    name: str, label: str, color: str, marker: str, *, evaluations: int = 1, last_order: int = 1
) -> Callable[[Make], Make]:
    """Register the decorated function as `Sampler.make` of a new sampler. ValueError if the name is taken."""

    def add(make: Make) -> Make:
        if name in SAMPLERS:
            raise ValueError(f"sampler {name!r} is registered already")
        SAMPLERS[name] = Sampler(name, label, color, marker, make, evaluations, last_order)
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


def label_of(name: str) -> str:
    """The label of the sampler of this name. ValueError if it is unknown."""
    return get_sampler(name).label
