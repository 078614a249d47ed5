"""Budget -> steps -> iterations per step. Plain integers, so that grids can be enumerated without torch.

A budget is a number of block passes; a step with k iterations between n_pre and n_post blocks spends n_pre + k + n_post
(paper, Sec. 4.2).
"""

from models.timesteps import TIMESTEPS


def affordable_steps(budget: int, passes_per_step: int) -> int:
    """How many steps a budget of block passes allows, at most one for each timestep; 0 if not even one."""
    return max(0, min(budget // passes_per_step, TIMESTEPS))


def constant(steps: int, iterations: int) -> tuple[int, ...]:
    """The same number of iterations at every step."""
    return (iterations,) * steps
