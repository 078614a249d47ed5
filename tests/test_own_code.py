"""Commands import the code beside them, whatever else Python's path has under the names of our packages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import run_grid

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "models", "paper_figures", "slurm")
COMMANDS = (
    "bench/run_grid.py", "bench/train.py", "bench/sample.py", "bench/audit.py", "bench/encode_latents.py",
    "bench/reference.py", "paper_figures/make_all.py", "slurm/train.py", "slurm/submit.py",
)  # fmt: skip
AT_EXIT = """
import atexit, sys
def tell():
    files = {sys.modules[name].__file__ for name in %r if name in sys.modules}
    print("imported", *sorted(files), file=sys.stderr)
atexit.register(tell)
"""


@pytest.fixture
def others(tmp_path):
    """A folder with other packages and modules of the same names; a process that has it on its path tells its own."""
    folder = tmp_path / "others"
    folder.mkdir()
    for name in PACKAGES:
        (folder / f"{name}.py").write_text("")
    (folder / "models.py").unlink()
    (folder / "models").mkdir()
    (folder / "models" / "__init__.py").write_text("")
    (folder / "sitecustomize.py").write_text(AT_EXIT % (PACKAGES,))
    return folder


def imported(others, *command, **environment):
    """The files of our packages that `command --help` imports, in a folder that has others first on its path."""
    result = subprocess.run(
        [sys.executable, *map(str, command), "--help"],
        cwd=others,
        env={**os.environ, "PYTHONPATH": str(others), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout
    *_, line = (line for line in result.stderr.splitlines() if line.startswith("imported"))
    return [Path(file) for file in line.split()[1:]]


@pytest.mark.parametrize("command", ["bench/train.py", "paper_figures/make_all.py", "slurm/train.py"])
def test_a_command_imports_the_code_beside_it(command, others):
    files = imported(others, ROOT / command)
    assert ROOT / "bench" / "__init__.py" in files
    assert all(file.is_relative_to(ROOT) for file in files), files


def test_so_does_a_link_to_a_command_in_python_s_safe_mode(others, tmp_path):
    (tmp_path / "link").symlink_to(ROOT, target_is_directory=True)
    (others / "grid").symlink_to(tmp_path / "link" / "bench" / "run_grid.py")
    files = imported(others, "grid", PYTHONSAFEPATH="1")
    assert files == [ROOT / name / "__init__.py" for name in ("bench", "models")]


def test_every_command_sees_to_it_before_it_imports():
    """Those too that are started by `python -m`."""
    ours = re.compile(rf"^(?:from|import) (?:{'|'.join(PACKAGES)})\b", re.MULTILINE)
    found = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = path.read_text()
        if (first := ours.search(text)) and re.search(r"^    sys\.exit\(", text, re.MULTILINE):
            depth = len(path.relative_to(ROOT).parents) - 1
            line = f"    sys.path.insert(0, str(Path(__file__).resolve().parents[{depth}]))\n"
            assert line in text[: first.start()], path
            found.add(path.relative_to(ROOT).as_posix())
    assert found == {
        *COMMANDS,
        "bench/benchmarks/__main__.py",
        "bench/benchmarks/scaling.py",
        "bench/benchmarks/where.py",
        "bench/prepare/train_extractor.py",
    }


def test_figures_are_drawn_by_the_script_beside_the_grid_s(monkeypatch):
    commands = []

    def ran(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(run_grid.subprocess, "run", ran)
    assert run_grid._draw(run_grid.Arguments()) == 0
    assert commands[0][:2] == [sys.executable, str(ROOT / "paper_figures" / "make_all.py")]
