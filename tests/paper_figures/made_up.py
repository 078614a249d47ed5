"""What tests of tables, figures and claims do with made-up records (conftest.py makes them)."""

from dataclasses import replace

import numpy as np
import pandas as pd

from bench.spec.cells import Cell
from models.diffusion.allocation import affordable_steps

SEEDS = (0, 1, 2)
DRIFT = (1.0, 1.5, 0.8, 1.1, 2.0)  # of the rounds of a speed cell: seconds drift, ratios do not
PARTS_MS = {  # of a speed cell; compiled, half of it
    "block": 1.0, "bare block": 0.9, "iteration": 1.25, "binding": 0.5, "dit step": 28.0, "fpdm step": 2.5,
    "dit training step": 90.0, "fpdm training step": 30.0,
}  # fmt: skip


def noise(cell, size=0.02):
    """A factor that differs between cells, always the same."""
    return 1 + size * (int(cell.key[:4], 16) / 0xFFFF - 0.5)


def flat(cell):
    """DiT 3, FPDM 1.5, times 1, 2 or 3 by replicate, a little noise."""
    return (3.0 if cell.run.model == "dit" else 1.5) * (1 + cell.seed) * noise(cell)


def rewrite(evidence, chosen, **changes):
    """The evidence anew, after changing the records of the cells that `chosen` picks; a change may be of the record."""
    for cell in evidence.cells:
        if chosen(cell):
            record = evidence.store.read(cell)
            values = {name: change(record) if callable(change) else change for name, change in changes.items()}
            evidence.store.write(replace(record, **values))
    return replace(evidence)


def diverge(evidence, chosen=lambda cell: True):
    """As after `DivergedError`."""
    lost = {"status": "diverged", "reason": "nan", "metrics": {}, "cost": {}, "timing": {}}
    return rewrite(evidence, lambda cell: isinstance(cell, Cell) and chosen(cell), **lost)


def shown(module, evidence):
    """Draw; the Markdown tables as frames of text, by file name."""
    tables = {}
    for path in module.draw(evidence):
        if path.suffix == ".md":
            lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
            head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
            tables[path.stem] = pd.DataFrame(rows, columns=head)
    return tables


def run_ms(cell, model, budget, k):
    """A sampling run that takes what its parts take, FPDM's with k = 2 at 280 passes a fifth more."""
    if model == "dit":
        return affordable_steps(budget, 28) * 28 * PARTS_MS["block"]
    parts = affordable_steps(budget, k + 2) * (2.0 + 0.5 + 1.25 * k)
    return parts * (1.2 if (budget, k) == (280, 2) else 1.0)


def speed(cell, run_ms=run_ms):
    """What a speed cell reports: rounds that drift, iterations of 1.25 blocks, a device of 1 GMAC/s."""
    if cell.compiled:
        parts = {
            f"{mode} {part}": ms * x for mode, x in (("compiled", 0.5), ("eager", 1)) for part, ms in PARTS_MS.items()
        }
        metrics = {"compile_s": 12.0}
    else:
        parts = PARTS_MS | {"stack": 28.0, "plain stack": 32.0, "product": 1.0}
        parts |= {f"dit {budget}": run_ms(cell, "dit", budget, 0) for budget in cell.budgets}
        parts |= {f"fpdm {b} k={k}": run_ms(cell, "fpdm", b, k) for b in cell.budgets for k in cell.iterations}
        metrics = {"macs_per_s": 1e9}
    series = {part: [ms * drift / 1e3 for drift in DRIFT] for part, ms in parts.items()}
    metrics |= {f"{part.replace(' ', '_').replace('=', '')}_s": float(np.median(s)) for part, s in series.items()}
    return {"metrics": metrics, "series": {"seconds": series}, "timing": {"threads": 1, "workers": 1}}
