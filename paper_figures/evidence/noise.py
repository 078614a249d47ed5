"""The spread of quality between trainings, and between sampling seeds of one training, from the grid `panel`.

One-way random effects on the logarithm of FD: the mean square within trainings estimates the variance of sampling, and
the mean square between trainings, less that and divided by the number of sampling seeds, the variance of training.
"""

import math

import numpy as np
import pandas as pd


def spreads(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a contender: `trainings`, `seeds` of each, geometric mean `fd`, standard deviations of log FD.

    These are `training`, between trainings, and `sampling`, between sampling seeds of one training.

    Args:
        frame: rows of records with `model`, `train_seed`, `seed` and `fid`. Trainings without all sampling seeds that
            the contender has elsewhere, or with one that diverged, are left out.
    """
    rows = []
    for model, cells in frame.groupby("model", sort=False):
        seeds = cells.groupby("train_seed").fid.agg(lambda values: len(values) if np.isfinite(values).all() else 0)
        whole = cells[cells.train_seed.isin(seeds.index[seeds == seeds.max()])]
        trainings, each = whole.train_seed.nunique(), int(seeds.max())
        if trainings < 2 or each < 2:
            continue
        logs = np.log(whole.sort_values(["train_seed", "seed"]).fid.to_numpy(float)).reshape(trainings, each)
        within, between = logs.var(axis=1, ddof=1).mean(), each * logs.mean(axis=1).var(ddof=1)
        row = {"model": model, "trainings": trainings, "seeds": each, "fd": math.exp(logs.mean())}
        row |= {"sampling": math.sqrt(within)}
        rows.append(row | {"training": math.sqrt(max(0.0, between - within) / each)})
    return pd.DataFrame(rows, columns=["model", "trainings", "seeds", "fd", "training", "sampling"])


def in_words(table: pd.DataFrame, labels: dict[str, str]) -> str:
    """The spreads of `spreads` as a part of a sentence; empty if there are none."""
    if table.empty:
        return ""
    each = []
    for row in table.to_dict("records"):
        training, sampling = percent(row["training"]), percent(row["sampling"])
        each.append(f"{labels[row['model']]} {training} between trainings, {sampling} between samples")
    first = table.iloc[0]
    return f"spread of FD ({first.trainings} trainings x {first.seeds} sampling seeds): {'; '.join(each)}"


def percent(deviation: float) -> str:
    """A standard deviation of a logarithm as a percentage: 7%, or 0.7% where it is small."""
    share = math.expm1(deviation)
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"
