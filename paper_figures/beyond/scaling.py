"""Images/s of sampling and steps/s of training against the batch, by worker processes and threads.

It is drawn of `results/performance/scaling.json`, which `python -m bench.benchmarks.scaling` writes: no grid has it.
"""

import json
from pathlib import Path
from statistics import median
from typing import Any

from bench.spec.suites import get_suite
from bench.system.errors import BadInputError
from bench.system.files import read_if_there
from paper_figures import style

TITLE = "Scaling"
PANELS = {"sampling": "sampling: images / s", "training": "training: steps / s"}
LINES = ("dotted", "dashed", "solid")
_NOTE = (
    "Medians over {rounds} rounds, bars from the least to the largest. Sampling: DDPM at 140 block passes, FPDM with 8 "
    "iterations, eager. Training: FPDM with 3 iterations without and 4 with gradients, compiled. Rates of workers are "
    "added. {hardware}, torch {torch}."
)


def draw(folder: Path) -> list[Path]:
    """Write scaling.{png,pdf} beside a folder's scaling.json; nothing where it has none.

    Raises:
        BadInputError: the file is damaged.
    """
    path = folder / "scaling.json"
    if (content := read_if_there(path)) is None:
        return []
    try:
        found = json.loads(content)
        rows, environment = found["measured"], found["environment"]
        figure, (axes,) = style.panels(1, len(PANELS), height_in=3.2)
        for axis, (work, label) in zip(axes, PANELS.items(), strict=True):
            _panel(axis, [row for row in rows if row["work"] == work])
            axis.set(xlabel="images of a batch", ylabel=label)
        rounds = len(rows[0]["per_s"])
        note = _NOTE.format(rounds=rounds, hardware=environment["hardware"], torch=environment["torch"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BadInputError(f"{path} is damaged ({error}): restore it, or delete it to have it made anew") from error
    style.shared_legend(figure, axes, columns=3, title="workers x threads of each")
    style.note(figure, note)
    return style.save(figure, folder / "scaling")


def _panel(axis: Any, rows: list[dict[str, Any]]) -> None:
    suite = get_suite("digits")
    ways = sorted({(row["workers"], row["threads"]) for row in rows})
    for name in dict.fromkeys(row["network"] for row in rows):
        contender = suite.contender(name)
        for way, line in zip(ways, LINES, strict=False):
            own = [row for row in rows if row["network"] == name and (row["workers"], row["threads"]) == way]
            batches = [row["batch"] for row in own]
            rates = [
                [rate * (row["batch"] if row["work"] == "sampling" else 1) for rate in row["per_s"]] for row in own
            ]
            middle = [median(each) for each in rates]
            bars = [[m - min(each) for m, each in zip(middle, rates, strict=True)]]
            bars += [[max(each) - m for m, each in zip(middle, rates, strict=True)]]
            label = f"{contender.label}, {way[0]} x {way[1]}"
            look = {"color": contender.color, "marker": contender.marker, "markersize": 3.5, "linestyle": line}
            axis.errorbar(batches, middle, yerr=bars, label=label, capsize=1.5, elinewidth=0.8, **look)
    style.log_x(axis, sorted({row["batch"] for row in rows}), margin=1.25)
    style.log_y(axis, style.COARSE)
