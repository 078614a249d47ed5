"""Loss of the twins against their training clock: what equal seconds bought each of them."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from bench.system.errors import BadInputError
from paper_figures import style
from paper_figures.evidence.gather import Evidence

GRID = "smoothing"
TITLE = "Training loss"
WINDOW = 5  # lines of the log, 10 steps each


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
    except ValueError as error:
        raise BadInputError(f"metrics log {path} is damaged ({error}): restore it, or delete it") from error


def draw(evidence: Evidence) -> list[Path]:
    """Write figures/training_loss.{png,pdf}."""
    runs = dict.fromkeys(cell.run for cell in evidence.cells if cell.run is not None)
    paths = {run: evidence.store.metrics_log_path(run) for run in runs}
    logs = {run: _read(path) for run, path in paths.items() if path.exists() and path.stat().st_size}
    if not logs:
        return []
    figure, axis = plt.subplots(figsize=(style.COLUMN_WIDTH_IN, 2.4), layout="constrained")
    first = min(run.seed for run in logs)
    for run, log in logs.items():
        smooth = log.loss.rolling(WINDOW, center=True, min_periods=1).median()
        color = style.COLORS[run.model]
        steps = (evidence.store.read_training(run) or {"step": log.step.max()})["step"]
        label = f"{style.LABELS[run.model]}, {int(steps)} steps" if run.seed == first else None
        axis.plot(log.elapsed_s, smooth, color=color, linewidth=1.2 if label else 0.6, label=label)
    axis.set_yscale("log")
    axis.set_xlabel("training clock (s)")
    axis.set_ylabel("loss (v MSE + variational bound)")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 6, 8)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(NullLocator())
    axis.legend()
    count = len({run.seed for run in logs})
    seeds = f"; a line a training seed, steps are those of the thick one (seed {first})" if count > 1 else ""
    text = (
        f"{evidence.suite}: medians over {WINDOW} lines of the log; FPDM's loss is at the iterations drawn in training"
    )
    style.note(figure, f"{text}{seeds}")
    return style.save(figure, evidence.path("figures", "training_loss"))
