"""Identities are frozen: renaming a field of a dataclass, or adding one with a default, changes no key."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite

ROOT = Path(__file__).parents[3]
GRIDS = ("smoothing", "compute", "memory", "throughput")
RENAMED = {  # class -> a field of it, which is called otherwise afterwards
    "TrainingRecipe": "learning_rate",
    "Protocol": "kid_subsets",
    "ModelConfig": "hidden_size",
    "Cell": "sampler",
}
GROWN = ("TrainingRun", "Cell", "Protocol", "Footprint", "Speed", "Floor", "ModelConfig")
HOMES = {"ModelConfig": "models.config", "TrainingRecipe": "bench.spec.contenders"} | dict.fromkeys(
    ("Footprint", "Speed", "Floor"), "bench.spec.measurements"
)
SCRIPT = """
import json
from dataclasses import fields
from importlib import import_module
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
names = {{name: [f.name for f in fields(getattr(import_module(home), name))] for name, home in {homes!r}.items()}}
cells = {{grid: get_cells(grid, get_suite("digits"), Selection()) for grid in {grids!r}}}
keys = {{grid: [(cell.key, cell.run and cell.run.name) for cell in found] for grid, found in cells.items()}}
print(json.dumps([names, keys]))
"""


def renamed(source):
    """The source with the fields renamed wherever they are named, but for the names in `identity`, which are frozen."""
    frozen = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == "identity":
            frozen |= set(range(node.lineno - 1, node.end_lineno))
    lines = source.splitlines()
    for field in RENAMED.values():
        for number, line in enumerate(lines):
            pattern = rf'(?<!")\b{field}\b(?!")' if number in frozen else rf"\b{field}\b"
            lines[number] = re.sub(pattern, f"{field}_otherwise", line)
    return "\n".join(lines) + "\n"


def grown(source):
    """The source with one more field, which has a default, in each dataclass of GROWN."""
    lines = source.splitlines()
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name in GROWN]
    for node in reversed(classes):
        last = max(field.end_lineno for field in node.body if isinstance(field, ast.AnnAssign))
        lines.insert(last, "    novelty: int = 0")
    return "\n".join(lines) + "\n"


def test_renaming_fields_and_adding_some_changes_no_key(tmp_path):
    for package in ("bench", "models"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in tmp_path.rglob("*.py"):
        path.write_text(grown(renamed(path.read_text())))
    homes = {name: HOMES.get(name, "bench.spec.cells") for name in {*GROWN, *RENAMED}}
    command = [sys.executable, "-c", SCRIPT.format(homes=homes, grids=GRIDS)]
    result = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    names, keys = json.loads(result.stdout)
    for name, field in RENAMED.items():
        assert field not in names[name]
        assert f"{field}_otherwise" in names[name]
    assert all("novelty" in names[name] for name in GROWN)
    for grid in GRIDS:
        cells = get_cells(grid, get_suite("digits"), Selection())
        assert keys[grid] == [[cell.key, cell.run and cell.run.name] for cell in cells]
