"""Figure 3: where the block passes of one budget go, for DiT and three allocations of FPDM (Sec. 3.3)."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from bench.spec.accounts import Account
from bench.spec.grids import SHOWN_ITERATIONS
from models.diffusion.allocation import SLOPE, allocate
from models.diffusion.timesteps import TIMESTEPS, select_timesteps
from models.zoo import ModelConfig
from paper_figures import style
from paper_figures.evidence.gather import Evidence

GRID = "allocation"
TITLE = "Figure 3: allocation of block passes"
ALLOCATIONS = ("constant", "increasing", "decreasing")
WIDTH = 20  # of a bar, in timesteps


@dataclass(frozen=True)
class Schedule:
    """The block passes of each step of one sampling run.

    Attributes:
        name: of the panel.
        timesteps: of the steps, noisiest first.
        parts: what each step spends, bottom up: "pre", "implicit" and "post", or "explicit" for a DiT.
    """

    name: str
    timesteps: tuple[int, ...]
    parts: dict[str, tuple[int, ...]]

    @property
    def spent(self) -> int:
        return sum(sum(passes) for passes in self.parts.values())


def schedules(dit: ModelConfig, fpdm: ModelConfig, budget: int, iterations: int, account: Account) -> list[Schedule]:
    """DiT and FPDM's allocations at a budget of DiT's passes; without those that it does not buy one step of."""
    found = []
    if steps := account.steps(dit, budget, dit):
        found.append(Schedule("DiT", select_timesteps(steps), {"explicit": (dit.depth,) * steps}))
    n_pre, n_post = fpdm.n_pre or 0, fpdm.n_post or 0
    if steps := account.steps(dit, budget, fpdm, iterations):
        for name in ALLOCATIONS:
            parts = {
                "pre": (n_pre,) * steps,
                "implicit": allocate(name, steps, iterations),
                "post": (n_post,) * steps,
            }
            found.append(Schedule(f"FPDM, {name}", select_timesteps(steps), parts))
    return found


LABELS = {
    "explicit": "explicit blocks",
    "pre": "pre blocks",
    "implicit": "iterations of the implicit layer",
    "post": "post blocks",
}


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig3_schedules.{png,pdf}."""
    suite, budget = evidence.twins, max(cell.budget for cell in evidence.cells)
    found = schedules(suite.dit, suite.fpdm, budget, SHOWN_ITERATIONS, evidence.account)
    if not found:
        return []
    figure, axes = style.panels(len(found), height_in=2.5)
    for axis, one in zip(axes, found, strict=True):
        _panel(axis, one)
    axes[0].set_ylabel("block passes a step")
    style.shared_legend(figure, axes)
    style.note(
        figure,
        f"{evidence.suite}: each bar is a step of sampling, at its timestep; {budget} {evidence.unit} an image, "
        f"{SHOWN_ITERATIONS} iterations a step on average; linear allocations run from {1 - SLOPE:g} to {1 + SLOPE:g} "
        "times the average, rounded to whole iterations with the sum kept"
        f"{evidence.account_note}",
    )
    return style.save(figure, evidence.path("figures", "fig3_schedules"))


def _panel(axis: Axes, one: Schedule) -> None:
    bottom = [0] * len(one.timesteps)
    for part, passes in one.parts.items():
        axis.bar(one.timesteps, passes, WIDTH, bottom, color=style.PARTS[part], label=LABELS[part], linewidth=0)
        bottom = [b + p for b, p in zip(bottom, passes, strict=True)]
    axis.set_xlim(TIMESTEPS - 1 + 30, -30)
    axis.set_xticks([TIMESTEPS - 1, 500, 0])
    axis.grid(axis="x", visible=False)
    axis.set_axisbelow(True)
    axis.set_xlabel("timestep")
    axis.set_title(f"{one.name}\n{len(one.timesteps)} steps, {one.spent} passes in all", fontsize=7.5)
