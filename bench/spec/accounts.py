"""Accounts: what a sampling step costs in block passes, MACs or seconds, and how many steps a budget buys. No torch.

A budget of b block passes is what the suite's DiT spends on b // depth steps (Table 1: 5, 10, 20 steps of 28 blocks).
In `blocks`, the paper's account, FPDM may take b // (n_pre + k + n_post) steps; the injections are free (footnote 3).
In `macs` and `seconds` it may take as many steps as its own price fits into DiT's spend. An account decides the number
of steps and nothing else: equal schedules are equal cells, whichever account asks for them.
"""

import math
from dataclasses import dataclass, replace

from bench.spec.cells import Cell
from bench.system.errors import BadInputError
from models.cost import forward_macs, forward_passes
from models.diffusion.allocation import affordable_steps
from models.diffusion.timesteps import TIMESTEPS
from models.zoo import ModelConfig

ACCOUNTS = {"blocks": "block passes", "macs": "MACs", "seconds": "seconds"}  # name -> currency
ROUNDING = 1e-9  # of a step: a price that fits but for the last bits of a float fits


@dataclass(frozen=True)
class Prices:
    """Seconds of the parts of a suite's twins for one batch: medians of a calibration (`bench.evaluation.calibration`).

    Attributes:
        dit, fpdm: the twins that were measured.
        batch_size: images in the batch.
        hardware: the machine that it was measured on.
        dit_step_s: a sampling step of the DiT, scheduler included.
        fpdm_step_s: a sampling step of the FPDM but for its iterations.
        iteration_s: an iteration: injection and block.
        block_s: an explicit block, modulation included.

    Raises:
        ValueError: a price that is no positive number.
    """

    dit: ModelConfig
    fpdm: ModelConfig
    batch_size: int
    hardware: str
    dit_step_s: float
    fpdm_step_s: float
    iteration_s: float
    block_s: float

    def __post_init__(self) -> None:
        for name in ("dit_step_s", "fpdm_step_s", "iteration_s", "block_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)}")

    def step_s(self, config: ModelConfig, iterations: int) -> float:
        """Seconds of a step for the batch, by plain iteration; BadInputError for networks of other sizes."""
        if config == self.dit:
            return self.dit_step_s
        if config.implicit and replace(config, n_pre=self.fpdm.n_pre, n_post=self.fpdm.n_post) == self.fpdm:
            more_blocks = forward_passes(config, 0) - forward_passes(self.fpdm, 0)
            return self.fpdm_step_s + more_blocks * self.block_s + iterations * self.iteration_s
        raise BadInputError(
            f"seconds are calibrated for twins of width {self.dit.hidden_size} and depth {self.dit.depth}, not for "
            f"{config.kind} of width {config.hidden_size} and depth {config.depth}"
        )


@dataclass(frozen=True)
class Account:
    """A currency of compute: "blocks", "macs" or "seconds"; the last needs prices."""

    name: str = "blocks"
    prices: Prices | None = None

    @property
    def definition(self) -> str:
        """What a budget of b block passes means, for captions; empty for the paper's account."""
        if self.name == "blocks":
            return ""
        where = f" as calibrated on {self.prices.hardware}" if self.name == "seconds" and self.prices else ""
        return f"a budget is what DiT spends on so many block passes, in {ACCOUNTS[self.name]}{where}"

    def step_price(self, config: ModelConfig, iterations: int = 0) -> float:
        """Price of a sampling step: passes or MACs of one image, seconds of a batch. A DiT has no iterations.

        Raises:
            BadInputError: seconds that are not calibrated, or not for such a network.
        """
        if self.name == "seconds":
            if self.prices is None:
                raise BadInputError(
                    "--account seconds: this suite is not calibrated in these results; run python bench/run_grid.py "
                    "--grid throughput with the same --suite and --results first"
                )
            return self.prices.step_s(config, iterations)
        return (forward_macs if self.name == "macs" else forward_passes)(config, iterations)

    def steps(self, yardstick: ModelConfig, budget: int, config: ModelConfig, iterations: int = 0) -> int:
        """How many steps of a network a budget buys, at most one for each timestep; 0 if not even one.

        Args:
            yardstick: the suite's DiT.
            budget: block passes of the yardstick that define what may be spent.
            config: the network. A DiT takes budget // depth steps in every account.
            iterations: of each step, or their mean.

        Raises:
            BadInputError: the budget is below one step of the yardstick, or see `step_price`.
        """
        if self.name == "blocks" or not config.implicit:
            return affordable_steps(budget, forward_passes(config, iterations))
        if budget < yardstick.depth:
            raise BadInputError(
                f"--budget {budget}: MACs and seconds go by what DiT spends, a step of which takes {yardstick.depth} "
                "block passes"
            )
        allowed = affordable_steps(budget, yardstick.depth) * self.step_price(yardstick)
        return min(math.floor(allowed / self.step_price(config, iterations) + ROUNDING), TIMESTEPS)

    def buys(self, yardstick: ModelConfig, cell: Cell) -> bool:
        """Whether a cell takes the steps that its budget buys in this account."""
        return cell.steps == self.steps(yardstick, cell.budget, cell.run.config, cell.iterations)
