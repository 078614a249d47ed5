"""The steps of a sampling run: their timesteps and iterations. Plain integers, so that grids need no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

TIMESTEPS = 1000  # of the forward process
SPACINGS = ("linspace", "trailing")


@dataclass(frozen=True)
class Step:
    """One diffusion step: from timestep t to t_prev (-1: the data); each evaluation with this number of iterations."""

    t: int
    t_prev: int
    iterations: int


def select_timesteps(steps: int, spacing: str = "linspace", timesteps: int = TIMESTEPS) -> tuple[int, ...]:
    """`steps` timesteps, from the noisiest down.

    Args:
        steps: 1 to `timesteps`.
        spacing: "linspace" as DiT: evenly spaced and rounded, first and last timestep both included; a single step
            takes the noisiest. "trailing" (Lin et al. 2023, Table 2): from the noisiest down in strides of
            timesteps / steps.

    Raises:
        ValueError: `steps` out of range or unknown spacing.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps must be 1 to {timesteps}, got {steps}")
    last = timesteps - 1
    if spacing == "linspace":
        return tuple(round(last - i * last / (steps - 1)) for i in range(steps)) if steps > 1 else (last,)
    if spacing == "trailing":
        return tuple(round(timesteps - i * timesteps / steps) - 1 for i in range(steps))
    raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")


def make_schedule(timesteps: Sequence[int], iterations: Sequence[int]) -> tuple[Step, ...]:
    """Pair each timestep, noisiest first, with its successor (-1 after the last) and its iterations."""
    successors = [*timesteps[1:], -1]
    return tuple(Step(*step) for step in zip(timesteps, successors, iterations, strict=True))
