"""Measurements that stay: RESULTS/performance/NAME.json, and NAME.md with their table."""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.system.files import write_json, write_text


def keep(results: Path, name: str, found: dict[str, Any], table: pd.DataFrame) -> str:
    """Write both files; returns the table with a line that says where it was measured.

    Args:
        results: results folder.
        name: of the files.
        found: content of the JSON file; `environment` as `bench.machine.provenance.describe` gives it.
        table: all cells as text.
    """
    environment = found["environment"]
    commit = f"commit {(environment['commit'] or 'unknown')[:9]}{' with changes' if environment['dirty'] else ''}"
    where = f"{environment['hardware']}, torch {environment['torch']}, {commit}"
    text = f"{table.to_markdown(index=False, disable_numparse=True)}\n\nMeasured on {where}.\n"
    folder = results / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.json", found)
    write_text(folder / f"{name}.md", text)
    return text
