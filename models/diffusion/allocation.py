"""Budget -> steps -> iterations per step. Plain numbers, so that grids can be enumerated without torch.

A budget is a number of block passes; a step with k iterations between n_pre and n_post blocks spends n_pre + k + n_post
(paper, Sec. 4.2). Allocations differ in how they share steps * k iterations among the steps (Sec. 3.3, Table 5).
"""

import math
from collections.abc import Callable

from models.diffusion.timesteps import TIMESTEPS

ALLOCATIONS = ("constant", "decreasing", "increasing", "adaptive")
SLOPE = 0.5  # of linear allocations: from (1 - SLOPE) k to (1 + SLOPE) k. The paper does not give it
ADAPTIVE_LIMIT = 2  # an adaptive step ends after this many times its mean share at the latest


def affordable_steps(budget: int, passes_per_step: int) -> int:
    """How many steps a budget of block passes allows, at most one for each timestep; 0 if not even one."""
    return max(0, min(budget // passes_per_step, TIMESTEPS))


def constant(steps: int, iterations: int) -> tuple[int, ...]:
    """The same number of iterations at every step."""
    return (iterations,) * steps


def increasing(steps: int, iterations: int) -> tuple[int, ...]:
    """Linear in the step, few iterations for noisy steps and many for the last; steps * iterations in all."""
    low = max(1.0, (1 - SLOPE) * iterations)
    high = 2 * iterations - low
    shares = [low + (high - low) * (i / (steps - 1) if steps > 1 else 0.5) for i in range(steps)]
    counts, spent, due = [], 0, 0.0
    for share in shares:  # rounding the running total keeps the sum, and shares of 1 or more keep counts so
        due += share
        counts.append(math.floor(due + 0.5 + 1e-9) - spent)
        spent += counts[-1]
    return tuple(sorted(counts))  # the running total dithers: 8, 7, 8, 9, 8, 9


def decreasing(steps: int, iterations: int) -> tuple[int, ...]:
    """`increasing`, the other way round: most iterations for the noisiest step."""
    return increasing(steps, iterations)[::-1]


def allocate(name: str, steps: int, iterations: int) -> tuple[int, ...]:
    """Iterations of each step, noisiest first, `steps * iterations` in all; for "adaptive", each step's upper limit.

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
    """The residual threshold of adaptive allocation, by binary search on its logarithm (paper, supplement C).

    Args:
        spend: what a threshold spends, as measured on a batch; falls as the threshold rises.
        budget: what may be spent, in the same unit.
        probes: calls of `spend`.

    Returns:
        Threshold and spending: the lowest threshold tried that stays within the budget; threshold infinity, which means
        one iteration a step, if none does.
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
