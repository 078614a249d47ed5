"""A training's metrics log: JSON lines, each the mean over a window of steps. The loss curve is drawn from it."""

import json
import math
from pathlib import Path

from bench.system.errors import BadInputError
from bench.system.files import read_if_there, write_text

WINDOW = 10  # steps
FIELDS = ("loss", "mse", "vb", "grad_norm")


class MetricsLog:
    """Collects step metrics; `flush` writes the complete windows. Resuming at a step drops the lines of later steps.

    Each line: step (last of the window), elapsed_s (training clock, seconds), means of FIELDS over the window.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []
        self.open_window: list[list[float]] = []  # steps since the last line; part of the checkpoint
        self.recent = math.nan  # loss of the last complete window

    def add(self, step: int, elapsed_s: float, loss: float, mse: float, vb: float, grad_norm: float) -> None:
        """Add one step. `grad_norm` is the norm before clipping."""
        self.open_window.append([loss, mse, vb, grad_norm])
        if math.isnan(self.recent):
            self.recent = loss
        if len(self.open_window) == WINDOW:
            columns = zip(*self.open_window, strict=True)
            means = {name: float(f"{sum(c) / WINDOW:.6g}") for name, c in zip(FIELDS, columns, strict=True)}
            finite = {name: value if math.isfinite(value) else None for name, value in means.items()}
            self._lines.append(json.dumps({"step": step, "elapsed_s": round(elapsed_s, 3), **finite}))
            self.recent = means["loss"]
            self.open_window = []

    def flush(self) -> None:
        """Write all complete windows."""
        write_text(self._path, "".join(line + "\n" for line in self._lines))

    def resume(self, path: Path, step: int, open_window: list[list[float]]) -> None:
        """Go on with the lines of the log at `path`, at a checkpoint's step with its open window."""
        lines = (read_if_there(path) or b"").decode(errors="replace").splitlines()
        try:
            self._lines = [line for line in lines if json.loads(line)["step"] <= step]
        except (ValueError, KeyError, TypeError) as error:
            raise BadInputError(f"metrics log {path} is damaged ({error}): delete it to go on without") from error
        self.open_window = [list(row) for row in open_window]
        if self._lines:
            self.recent = json.loads(self._lines[-1])["loss"]
