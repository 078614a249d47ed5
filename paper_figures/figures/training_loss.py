"""Loss of the contenders against their training clock: what equal seconds bought each of them."""

import json
from pathlib import Path

import pandas as pd
import seaborn as sns

from bench.spec.cells import TrainingRun
from bench.system.errors import BadInputError
from paper_figures import style
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
    figure, ((axis,),) = style.panels(1, 1, height_in=2.7)
    shown = style.contenders(evidence, (run.model for run in logs))
    for contender in shown:
        own = sorted((run for run in logs if run.model == contender.name), key=lambda run: run.seed)
        steps = (evidence.store.read_training(own[0]) or {"step": logs[own[0]].step.max()})["step"]
        for run in own:
            thick = {"label": f"{contender.label}, {int(steps)} steps"} if run == own[0] else {"linewidth": 0.6}
            look = {"color": contender.color, "legend": False} | thick
            sns.lineplot(logs[run], x="elapsed_s", y="loss", estimator=None, ax=axis, **look)
    style.log_y(axis, TICKS)
    axis.set(xlabel="training clock (s)", ylabel="loss (v MSE + variational bound)")
    style.shared_legend(figure, [axis], columns=2)
    seeds = sorted({run.seed for run in logs})
    several = f"; a line a training seed, steps are those of the thick one (seed {seeds[0]})" if len(seeds) > 1 else ""
    iterating = "".join(
        f"; {one.label}'s loss is at the iterations drawn in training" for one in shown if one.family.iterates
    )
    style.note(figure, f"{evidence.suite}: medians over {WINDOW} lines of the log{iterating}{several}")
    return style.save(figure, evidence.path("figures", "training_loss"))


def _smooth_log(evidence: Evidence, run: TrainingRun) -> pd.DataFrame | None:
    """A run's log with the running median of its loss; None if there is no log. BadInputError if it is damaged."""
    path = evidence.store.metrics_log_path(run)
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        log = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
    except ValueError as error:
        raise BadInputError(f"metrics log {path} is damaged ({error}): restore it, or delete it") from error
    return log.assign(loss=log.loss.rolling(WINDOW, center=True, min_periods=1).median())
