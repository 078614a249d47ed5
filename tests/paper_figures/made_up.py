"""What tests of tables, figures and claims do with made-up records (conftest.py makes them)."""

from dataclasses import replace

import pandas as pd

from bench.cells import Cell

SEEDS = (0, 1, 2)


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
