"""Figure 3: the block passes of each step for the baseline and three allocations of the subject (Sec. 3.3)."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from bench.spec.accounts import Account
from bench.spec.contenders import Suite
from bench.spec.grids.paper import SHOWN_ITERATIONS
from models.diffusion.allocation import SLOPE, allocate
from models.diffusion.timesteps import TIMESTEPS, select_timesteps
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
        parts: what each step spends, bottom up: "pre", "implicit" and "post", or "explicit" without iterations.
    """

    name: str
    timesteps: tuple[int, ...]
    parts: dict[str, tuple[int, ...]]

    @property
    def spent(self) -> int:
        return sum(sum(passes) for passes in self.parts.values())


LABELS = {
    "explicit": "explicit blocks",
    "pre": "pre blocks",
    "implicit": "iterations of the implicit layer",
    "post": "post blocks",
}


def schedules(suite: Suite, budget: int, iterations: int, account: Account) -> list[Schedule]:
    """The baseline and the subject's allocations at a budget; without those that it does not buy one step of."""
    found = []
    for one in (suite.baseline, suite.subject):
        config, iterates = one.config, one.family.iterates
        steps = account.steps(suite.baseline.config, budget, config, iterations * iterates)
        if steps and not iterates:
            explicit = (sum(one.family.layout(config, 0)),) * steps
            found.append(Schedule(one.label, select_timesteps(steps), {"explicit": explicit}))
        elif steps:
            n_pre, _, n_post = one.family.layout(config, iterations)
            for name in ALLOCATIONS:
                inside = {"implicit": allocate(name, steps, iterations)}
                parts = {"pre": (n_pre,) * steps} | inside | {"post": (n_post,) * steps}
                found.append(Schedule(f"{one.label}, {name}", select_timesteps(steps), parts))
    return found


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig3_schedules.{png,pdf}."""
    budget = max(cell.budget for cell in evidence.cells)
    found = schedules(style.suite_of(evidence), budget, SHOWN_ITERATIONS, evidence.account)
    if not found:
        return []
    figure, ((*axes,),) = style.panels(1, len(found), height_in=2.5, sharey=True)
    for axis, one in zip(axes, found, strict=True):
        _panel(axis, one, style.part_colors(evidence))
    axes[0].set_ylabel("block passes a step")
    axes[0].locator_params(axis="y", nbins=6, integer=True)
    style.shared_legend(figure, axes)
    style.note(
        figure,
        f"{evidence.suite}: each bar is a step of sampling, at its timestep; {budget} {evidence.unit} an image, "
        f"{SHOWN_ITERATIONS} iterations a step on average; linear allocations run from {1 - SLOPE:g} to {1 + SLOPE:g} "
        "times the average, rounded to whole iterations with the sum kept"
        f"{evidence.account_note}",
    )
    return style.save(figure, evidence.path("figures", "fig3_schedules"))


def _panel(axis: Axes, one: Schedule, colors: dict[str, str]) -> None:
    bottom = [0] * len(one.timesteps)
    for part, passes in one.parts.items():
        axis.bar(one.timesteps, passes, WIDTH, bottom, color=colors[part], label=LABELS[part], linewidth=0)
        bottom = [b + p for b, p in zip(bottom, passes, strict=True)]
    axis.set_xlim(TIMESTEPS - 1 + 30, -30)
    axis.set_xticks([TIMESTEPS - 1, 500, 0])
    axis.grid(axis="x", visible=False)
    axis.set_xlabel("timestep")
    axis.set_title(f"{one.name}\n{len(one.timesteps)} steps, {one.spent} passes in all", fontsize=7.5)
