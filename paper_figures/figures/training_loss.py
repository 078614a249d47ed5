"""Loss against the training clock, a panel a contender: what equal seconds bought each of them."""

import json
from pathlib import Path

import pandas as pd
import seaborn as sns

from bench.spec.cells import TrainingRun
from bench.system.errors import BadInputError
from bench.system.files import read_if_there
from paper_figures import style
from paper_figures.evidence.comparisons import trained_on
from paper_figures.evidence.gather import Evidence

GRID = "smoothing"
TITLE = "Training loss"
WINDOW = 5  # lines of the log, 10 steps each
TICKS = (1, 1.5, 2, 3, 4, 5, 6, 8)


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/training_loss.{png,pdf}."""
    runs = dict.fromkeys(cell.run for cell in evidence.cells if cell.run is not None)
    logs = {run: log for run in runs if (log := _smooth_log(evidence, run)) is not None}
    if not logs:
        return []
    shown = style.contenders(evidence, (run.model for run in logs))
    size = {"height_in": 2.5, "width_in": style.PAGE_WIDTH_IN}
    figure, ((*axes,),) = style.panels(1, len(shown), **size, sharex=True, sharey=True)
    for axis, contender in zip(axes, shown, strict=True):
        own = sorted((run for run in logs if run.model == contender.name), key=lambda run: run.seed)
        steps = (evidence.store.read_training(own[0]) or {"step": logs[own[0]].step.max()})["step"]
        for run in own:
            look = {"color": contender.color, "linewidth": 1.5 if run == own[0] else 0.6}
            sns.lineplot(logs[run], x="elapsed_s", y="loss", estimator=None, ax=axis, legend=False, **look)
        iterating = ",\nat the iterations drawn in training" if contender.family.iterates else ""
        axis.set_title(f"{contender.label}, {int(steps)} training steps{iterating}", fontsize=7.5)
        axis.set(xlabel="training clock (s)")
        axis.tick_params(labelleft=axis is axes[0])
    style.log_y(axes[0], TICKS)
    axes[0].set(ylabel="loss (v MSE + variational bound)")
    seeds = sorted({run.seed for run in logs})
    several = f"; a line a training seed, steps are those of the thick one (seed {seeds[0]})" if len(seeds) > 1 else ""
    alone = (
        "; losses of different panels are not at the same iterations" if any(c.family.iterates for c in shown) else ""
    )
    apart = "; trained on different machines, whose seconds are not equal" if len(trained_on(evidence)) > 1 else ""
    style.note(figure, f"{evidence.suite}: medians over {WINDOW} lines of the log{alone}{several}{apart}")
    return style.save(figure, evidence.path("figures", "training_loss"))


def _smooth_log(evidence: Evidence, run: TrainingRun) -> pd.DataFrame | None:
    """A run's log with the running median of its loss; None if there is no log. BadInputError if it is damaged."""
    path = evidence.store.metrics_log_path(run)
    if not (content := read_if_there(path)):
        return None
    try:
        log = pd.DataFrame([json.loads(line) for line in content.splitlines()])
    except ValueError as error:
        raise BadInputError(f"metrics log {path} is damaged ({error}): restore it, or delete it") from error
    return log.assign(loss=log.loss.rolling(WINDOW, center=True, min_periods=1).median())
