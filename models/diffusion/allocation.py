"""Allocation of a budget: how many steps it buys and how many iterations each gets. Plain numbers, without torch.

A budget is a number of block passes. An evaluation with k iterations between n_pre and n_post blocks spends
n_pre + k + n_post (paper, Sec. 4.2); a sampler makes one or more a step (`samplers.Sampler`). Allocations divide
steps * k iterations among the steps in different ways (Sec. 3.3, Table 5).
"""

import math
from collections.abc import Callable

from models.diffusion.samplers import get_sampler
from models.diffusion.timesteps import TIMESTEPS

ALLOCATIONS = ("constant", "decreasing", "increasing", "adaptive")
SLOPE = 0.5  # linear allocations run from (1 - SLOPE) k to (1 + SLOPE) k iterations; the paper gives no slope
ADAPTIVE_LIMIT = 2  # an adaptive step has at most this many times the mean number of iterations


def affordable_steps(budget: int, passes: int, sampler: str = "ddpm") -> int:
    """How many steps a budget allows whose evaluations spend so many block passes: 0 to one for each timestep."""
    return min(get_sampler(sampler).steps(budget // passes), TIMESTEPS)


def constant(steps: int, iterations: int) -> tuple[int, ...]:
    """The same number of iterations at every step."""
    return (iterations,) * steps


def increasing(steps: int, iterations: int) -> tuple[int, ...]:
    """Linear in the step, from few iterations at the noisiest step to many at the last; steps * iterations in all."""
    low = max(1.0, (1 - SLOPE) * iterations)
    high = 2 * iterations - low
    shares = [low + (high - low) * (i / (steps - 1) if steps > 1 else 0.5) for i in range(steps)]
    counts, spent, due = [], 0, 0.0
    for share in shares:  # rounding the running total keeps the sum; shares of at least 1 give counts of at least 1
        due += share
        counts.append(math.floor(due + 0.5 + 1e-9) - spent)
        spent += counts[-1]
    return tuple(sorted(counts))  # rounding gives e.g. 8, 7, 8, 9, 8, 9


def decreasing(steps: int, iterations: int) -> tuple[int, ...]:
    """`increasing` reversed: most iterations at the noisiest step."""
    return increasing(steps, iterations)[::-1]


def allocate(name: str, steps: int, iterations: int) -> tuple[int, ...]:
    """Iterations of each step, noisiest first: `steps * iterations` in all. For "adaptive": each step's upper limit.

    Raises:
        ValueError: unknown name, or fewer than one iteration a step.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be 1 or more, got {iterations}")
    match name:
        case "constant":
            return constant(steps, iterations)
        case "increasing":
            return increasing(steps, iterations)
        case "decreasing":
            return decreasing(steps, iterations)
        case "adaptive":
            return constant(steps, ADAPTIVE_LIMIT * iterations)
    raise ValueError(f"allocation must be one of {', '.join(ALLOCATIONS)}, got {name!r}")


def find_threshold(spend: Callable[[float], float], budget: float, probes: int = 9) -> tuple[float, float]:
    """Find the residual threshold of adaptive allocation, by binary search on its logarithm (paper, supplement C).

    Args:
        spend: threshold -> measured cost, which falls as the threshold rises.
        budget: the greatest allowed cost, in the same unit.
        probes: how many thresholds to try.

    Returns:
        The lowest threshold tried whose cost is within the budget, and that cost; (infinity, nan) if there is none.
        At threshold infinity each step has one iteration.
    """
    low, high = math.log(1e-7), math.log(10.0)
    best = (math.inf, math.nan)
    for _ in range(probes):
        middle = (low + high) / 2
        if (spent := spend(math.exp(middle))) <= budget:
            high, best = middle, (math.exp(middle), spent)
        else:
            low = middle
    return best
