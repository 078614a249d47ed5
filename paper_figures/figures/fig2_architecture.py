"""Figure 2: the baseline, and the subject over two timesteps, from the suite's configurations (Sec. 3.2, 3.3)."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from bench.spec.contenders import Contender
from paper_figures import style
from paper_figures.evidence.gather import Evidence

GRID = "smoothing"
TITLE = "Figure 2: architecture"

Point = tuple[float, float]

HEIGHT = 3.4  # all lengths are in inches
WIDTH, GAP = 1.1, 0.22  # of a block; part of a block's height between it and the next
DIT_X, FIRST_X, NEXT_X = 0.75, 3.15, 5.7  # centres of the stacks
BOTTOM, TOP = 0.5, 2.7  # of the stacks
EXPLICIT_HEIGHT = 0.36  # of all pre blocks, or all post blocks, together
IMPLICIT = (1.4, 2.0)  # bottom and top of the implicit layer
BRANCH, REUSED, SOLVED = 1.02, 1.22, 2.17  # heights where arrows leave or enter
INK, REUSE = "#333333", style.SERIES[2]


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/fig2_architecture.{png,pdf}."""
    suite, colors = style.suite_of(evidence), style.part_colors(evidence)
    figure, axis = plt.subplots(figsize=(style.PAGE_WIDTH_IN, HEIGHT), layout="constrained")
    axis.set(xlim=(0, style.PAGE_WIDTH_IN), ylim=(0, HEIGHT), aspect="equal")
    axis.set_axis_off()
    _explicit(axis, suite.baseline, colors)
    _implicit(axis, suite.subject, colors)
    style.note(figure, note_text(evidence.suite, suite.baseline, suite.subject))
    return style.save(figure, evidence.path("figures", "fig2_architecture"))


def note_text(suite: str, baseline: Contender, subject: Contender) -> str:
    """The sizes, and what the drawing leaves out."""
    sees = "label and timestep" if subject.config.num_classes else "timestep"
    rest = "the label only" if subject.config.num_classes else "neither"
    widths = {one.label: one.config.hidden_size for one in (baseline, subject)}
    width = f"width {widths[baseline.label]}" if len(set(widths.values())) == 1 else f"widths {widths}"
    return (
        f"{suite}: all blocks are transformer blocks of {width}. Blocks of {baseline.label} and the implicit layer see "
        f"{sees}, pre and post blocks {rest}. One network serves all timesteps; k is chosen when sampling."
    )


def _explicit(axis: Axes, contender: Contender, colors: dict[str, str]) -> None:
    """A network without iterations: one stack of blocks."""
    depth = sum(contender.family.layout(contender.config, 0))
    _text(axis, DIT_X + 0.35, HEIGHT - 0.1, f"{contender.label}: {depth} passes a timestep", size=8.5)
    _stack(axis, DIT_X, BOTTOM, TOP, depth, colors["explicit"])
    _ends(axis, DIT_X, "t")
    side = DIT_X + WIDTH / 2 + 0.08
    axis.plot([side, side + 0.06, side + 0.06, side], [BOTTOM, BOTTOM, TOP, TOP], color=INK, linewidth=0.8)
    _text(axis, side + 0.14, (BOTTOM + TOP) / 2, f"{depth} blocks,\neach with\nits own\nweights", align="left")


def _implicit(axis: Axes, contender: Contender, colors: dict[str, str]) -> None:
    """A network with an implicit layer over two timesteps, the second of which starts from the first's solution."""
    n_pre, _, n_post = contender.family.layout(contender.config, 1)
    middle = (FIRST_X + NEXT_X) / 2
    _text(axis, middle, HEIGHT - 0.1, f"{contender.label}: {n_pre} + k + {n_post} passes a timestep", size=8.5)
    for x, time, name in ((FIRST_X, "t", "first"), (NEXT_X, "t'", "next")):
        _timestep(axis, x, time, n_pre, n_post, colors)
        _text(axis, x + 0.75, BOTTOM - 0.28, f"{name} timestep", color=style.FAINT)
    _arrow(axis, (FIRST_X, BRANCH), (FIRST_X, IMPLICIT[0]))  # only the first timestep starts from the pre blocks
    _text(axis, FIRST_X - 0.08, (BRANCH + IMPLICIT[0]) / 2, "start", align="right")
    across = middle + 0.1
    path = (FIRST_X, SOLVED), (across, SOLVED), (across, REUSED), (NEXT_X, REUSED), (NEXT_X, IMPLICIT[0])
    _arrow(axis, *path, color=REUSE, width=1.6)
    _arrow(axis, (NEXT_X, SOLVED), (style.PAGE_WIDTH_IN - 0.1, SOLVED), color=REUSE, width=1.6)
    _text(axis, across - 0.02, SOLVED + 0.06, "reuse: the solution\nis the next start", color=REUSE, vertical="bottom")


def _timestep(axis: Axes, x: float, time: str, n_pre: int, n_post: int, colors: dict[str, str]) -> None:
    """One pass through the network: pre blocks, implicit layer with its loop and its injection, post blocks."""
    pre_top, post_bottom = BOTTOM + EXPLICIT_HEIGHT, TOP - EXPLICIT_HEIGHT
    right, left = x + WIDTH / 2, x - WIDTH / 2
    _ends(axis, x, time)
    _stack(axis, x, BOTTOM, pre_top, n_pre, colors["pre"], "pre", "white")  # on the darkest shade
    _stack(axis, x, post_bottom, TOP, n_post, colors["post"], "post")
    _box(axis, x, *IMPLICIT, colors["implicit"])
    _text(axis, x, sum(IMPLICIT) / 2, "1 implicit block,\nk iterations")
    _head(axis, (left, 1.88), (left, 1.52), bend=1.1)
    _arrow(axis, (x, pre_top), (x, BRANCH), (right + 0.2, BRANCH), (right + 0.2, 1.6), (right, 1.6))
    _text(axis, right + 0.25, 1.45, "input\ninjection", align="left", size=6.5)
    _arrow(axis, (x, IMPLICIT[1]), (x, post_bottom))
    _text(axis, x - 0.07, SOLVED, f"$x^*_{{{time}}}$", align="right")


def _ends(axis: Axes, x: float, time: str) -> None:
    """What goes into a network at the bottom and comes out at the top."""
    _arrow(axis, (x, BOTTOM - 0.18), (x, BOTTOM))
    _text(axis, x, BOTTOM - 0.28, f"$x_{{{time}}}$")
    _arrow(axis, (x, TOP), (x, TOP + 0.2))
    _text(axis, x, TOP + 0.3, "prediction")


def _stack(
    axis: Axes, x: float, bottom: float, top: float, count: int, color: str, name: str = "", ink: str = INK
) -> None:
    """Explicit blocks, one above the other, with their number if they have a name; a line if there are none."""
    if count == 0:
        axis.plot([x, x], [bottom, top], color=INK, linewidth=1)
        return
    each = (top - bottom) / (count - GAP * (count > 1))
    for i in range(count):
        _box(axis, x, bottom + i * each, bottom + (i + 1 - GAP * (count > 1)) * each, color)
    if name:
        _text(axis, x, (bottom + top) / 2, f"{count} {name} block{'s' if count > 1 else ''}", color=ink)


def _box(axis: Axes, x: float, bottom: float, top: float, color: str) -> None:
    shape = f"round,pad=0,rounding_size={min(0.05, (top - bottom) / 3)}"
    corner = x - WIDTH / 2, bottom
    axis.add_patch(FancyBboxPatch(corner, WIDTH, top - bottom, shape, facecolor=color, edgecolor=INK, linewidth=0.7))


def _head(axis: Axes, start: Point, end: Point, color: str = INK, width: float = 1.0, bend: float = 0.0) -> None:
    """One arrow, straight or bent."""
    look: dict[str, Any] = {"color": color, "linewidth": width, "mutation_scale": 8, "shrinkA": 0, "shrinkB": 0}
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", connectionstyle=f"arc3,rad={bend}", **look))


def _arrow(axis: Axes, *points: Point, color: str = INK, width: float = 1.0) -> None:
    """Straight lines along the points, the last with a head."""
    axis.plot(*zip(*points[:-1], strict=True), color=color, linewidth=width, solid_joinstyle="miter")
    _head(axis, points[-2], points[-1], color, width)


def _text(
    axis: Axes,
    x: float,
    y: float,
    text: str,
    size: float = 7.5,
    align: str = "center",
    vertical: str = "center",
    color: str = INK,
) -> None:
    axis.text(x, y, text, fontsize=size, ha=align, va=vertical, color=color, linespacing=1.15)
