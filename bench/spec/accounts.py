"""Accounts: what an evaluation of a network costs in block passes, MACs or seconds; the steps that a budget buys.

A budget of b block passes is what the suite's baseline spends on b // depth evaluations: Table 1's 5, 10, 20 steps of
28 blocks. In `blocks`, the paper's account, a contender may evaluate b // passes times; injections are free (footnote
3). In `macs` and `seconds` it may evaluate as often as its own price fits into what the baseline spends. A sampler that
evaluates twice a step takes half the steps of these. An account decides the number of steps and nothing else: equal
schedules are equal cells, whichever account asks for them. No torch.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.spec.cells import Cell
from bench.system.errors import BadInputError
from models.config import ModelConfig
from models.diffusion.allocation import affordable_steps
from models.diffusion.samplers import get_sampler
from models.diffusion.timesteps import TIMESTEPS
from models.families import family_of, forward_macs, forward_passes

ACCOUNTS = {"blocks": "block passes", "macs": "MACs", "seconds": "seconds"}  # name -> currency
ROUNDING = 1e-12  # relative; a price that exceeds the budget by float rounding only still fits


@dataclass(frozen=True)
class Prices:
    """Seconds of sampling steps and of their parts for one batch: medians of a calibration (`Speed`).

    Attributes:
        configs: the networks that were measured, by contender.
        batch_size: images in the batch.
        hardware: the machine that was measured.
        steps_s: a sampling step of each contender, scheduler included; without iterations where it has any.
        parts_s: a step's parts, by name (`Family.parts`).

    Raises:
        ValueError: a price is not a positive number.
    """

    configs: Mapping[str, ModelConfig]
    batch_size: int
    hardware: str
    steps_s: Mapping[str, float]
    parts_s: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, seconds in (*self.steps_s.items(), *self.parts_s.items()):
            if not 0 < seconds < math.inf:
                raise ValueError(f"{name}_s must be a positive number, got {seconds}")

    def covers(self, config: ModelConfig) -> bool:
        """Whether a step of this network has a price: it differs from a measured one by parts that were measured."""
        return bool(self._estimates(config, 2))  # at one iteration some parts are not needed

    def step_s(self, config: ModelConfig, iterations: int) -> float:
        """Seconds of a step for the batch, by plain iteration.

        They are those of the measured step that differs by the fewest parts, and of these parts.

        Raises:
            BadInputError: the network is of another size, or has a part that was not measured.
        """
        if not (estimates := self._estimates(config, iterations)):
            measured = next(iter(self.configs.values()))
            raise BadInputError(
                f"seconds are calibrated for networks of width {measured.hidden_size}, patch {measured.patch_size} and "
                f"{measured.num_heads} heads, not for {config.family} of width {config.hidden_size}, patch "
                f"{config.patch_size} and {config.num_heads} heads"
            )
        return min(estimates)[1]

    def _estimates(self, config: ModelConfig, iterations: int) -> list[tuple[int, float]]:
        """From each measured step: by how many parts this one differs from it, and its seconds."""
        found = []
        for name, known in self.configs.items():
            extra = Counter(family_of(config).parts(config, iterations))
            extra.subtract(family_of(known).parts(known, 0))
            parts = {part: count for part, count in extra.items() if count}
            if _shell(config) == _shell(known) and parts.keys() <= self.parts_s.keys():
                more = sum(count * self.parts_s[part] for part, count in parts.items())
                found.append((sum(map(abs, parts.values())), self.steps_s[name] + more))
        return found


def _shell(config: ModelConfig) -> ModelConfig:
    """What networks have in common whose blocks and embeddings take equal time."""
    names = ("input_size", "patch_size", "in_channels", "hidden_size", "num_heads", "num_classes", "learn_sigma")
    return ModelConfig("", **{name: getattr(config, name) for name in names})


@dataclass(frozen=True)
class Account:
    """A currency of compute: "blocks", "macs" or "seconds", which needs prices."""

    name: str = "blocks"
    prices: Prices | None = None

    @property
    def definition(self) -> str:
        """Meaning of a budget of b block passes, for captions; empty for the paper's account."""
        if self.name == "blocks":
            return ""
        where = f" as calibrated on {self.prices.hardware}" if self.name == "seconds" and self.prices else ""
        return f"a budget is what DiT spends on so many block passes, in {ACCOUNTS[self.name]}{where}"

    def step_price(self, config: ModelConfig, iterations: int = 0) -> float:
        """Price of a sampling step that evaluates once: passes or MACs of one image, seconds of a batch.

        Raises:
            BadInputError: seconds are not calibrated, or not for such a network.
        """
        if self.name == "seconds":
            if self.prices is None:
                raise BadInputError(
                    "--account seconds: this suite is not calibrated in these results; run python bench/run_grid.py "
                    "--grid throughput with the same --suite and --results first"
                )
            return self.prices.step_s(config, iterations)
        return (forward_macs if self.name == "macs" else forward_passes)(config, iterations)

    def run_price(self, config: ModelConfig, iterations: int, steps: int, sampler: str = "ddpm") -> float:
        """Price of a sampling run; `iterations` as in `steps`. BadInputError as in `step_price`."""
        made = get_sampler(sampler).tally(family_of(config).counts(config, (iterations,) * steps))
        return sum(times * self.step_price(config, number) for number, times in made.items())

    def steps(
        self, yardstick: ModelConfig, budget: int, config: ModelConfig, iterations: int = 0, sampler: str = "ddpm"
    ) -> int:
        """Number of a network's steps that a budget buys: at most one for each timestep, 0 if it buys none.

        Args:
            yardstick: the baseline's network, which evaluates budget // passes times in every account.
            budget: block passes of the yardstick, whose price may be spent.
            config: the network.
            iterations: a schedule's number (`Family.counts`), or its mean over the steps.
            sampler: name of the sampler.

        Raises:
            BadInputError: the budget is below one step of the yardstick, or see `step_price`.
        """
        if config == yardstick:
            return affordable_steps(budget, forward_passes(config, iterations), sampler)
        allowed = self._allowed(yardstick, budget)

        def price(steps: int) -> float:  # less what float rounding may add to it
            whole = self.run_price(config, iterations, steps, sampler)
            return whole if self.name == "blocks" else whole * (1 - ROUNDING)

        return bisect_right(range(TIMESTEPS + 1), allowed, key=price) - 1

    def _allowed(self, yardstick: ModelConfig, budget: int) -> float:
        """What a contender may spend."""
        if self.name == "blocks":
            return budget
        passes = forward_passes(yardstick)
        if budget < passes:
            raise BadInputError(
                f"--budget {budget}: must be {passes} or more, the block passes of a step of the baseline, in "
                f"--account {self.name}"
            )
        return affordable_steps(budget, passes) * self.step_price(yardstick)

    def exceeds(
        self, yardstick: ModelConfig, budget: int, config: ModelConfig, iterations: int = 0, sampler: str = "ddpm"
    ) -> bool:
        """Whether a budget buys more steps of a network than there are timesteps; arguments as in `steps`."""
        account = replace(self, name="blocks") if config == yardstick else self
        most = account.run_price(config, iterations, TIMESTEPS, sampler)
        return most + most / TIMESTEPS <= account._allowed(yardstick, budget)

    def buys(self, yardstick: ModelConfig, cell: Cell) -> bool:
        """Whether a cell takes the steps that its budget buys in this account."""
        return cell.steps == self.steps(yardstick, cell.budget, cell.config, cell.iterations, cell.sampler)
