"""Where tables and figures are drawn, and what is said where they cannot be."""

import errno
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from faults import fault

from bench.system.command_line import run
from paper_figures import make_all

ROOT = Path(__file__).parents[2]


def below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_drawn_to_another_folder(tmp_path, write_records):
    evidence = write_records(tmp_path / "results", "allocation", seeds=(0,))
    before = below(tmp_path / "results")
    words = ["allocation", "--seeds", "0", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert run(make_all.main, words) == 0
    assert below(tmp_path / "results") == before
    drawn = below(tmp_path / "out")
    assert "digits/parts/seeds-0/tables/table5_ratios.md" in drawn
    assert "digits/parts/seeds-0/environment.json" in drawn
    assert evidence.kept


def test_a_part_of_kept_results_is_drawn_where_git_ignores_it(tmp_path, write_records):
    write_records(tmp_path, "allocation", seeds=(0,))
    assert run(make_all.main, ["allocation", "--seeds", "0", "--results", str(tmp_path)]) == 0
    drawn = {name for name in below(tmp_path / "digits") if not name.startswith(("records/", "training/", "images/"))}
    assert drawn
    assert all(name.startswith("parts/seeds-0/") for name in drawn)
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *(f"results/digits/{name}" for name in drawn)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ignored.stdout.splitlines()) == len(drawn)


def test_no_records_says_where_it_looked_and_a_command_that_works(tmp_path):
    script = str(ROOT / "paper_figures" / "make_all.py")
    result = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: no records in {tmp_path / 'results' / 'digits'}: give --results, or make ")
    _, *command = shlex.split(result.stderr.partition("make them with ")[2])
    planned = subprocess.run(
        [sys.executable, *command, "--plan"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (planned.returncode, planned.stderr) == (0, "")
    assert "runs to train" in planned.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_results_that_may_not_be_written_are_named_as_the_cause(number, tmp_path, write_records, capsys):
    write_records(tmp_path, "allocation", seeds=(0,))
    with fault("mkdir", "parts", number):
        assert run(make_all.main, ["allocation", "--seeds", "0", "--results", str(tmp_path)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"{tmp_path}/digits/parts" in line
    assert "it may not be read or written: change that, or choose another folder" in line
    assert "--out" in line


def test_a_budget_that_other_grids_cannot_have_is_drawn(tmp_path, write_records, capsys):
    """FPDM can spend 40,000 block passes, the baseline of the other grids cannot."""
    write_records(tmp_path, "allocation", seeds=(0,))
    words = ["smoothing", "--models", "fpdm", "--budget", "40000", "--results", str(tmp_path)]
    assert run(make_all.main, words) == 0
    assert "cells missing" in capsys.readouterr().out
    assert run(make_all.main, ["--budget", "40000", "--results", str(tmp_path)]) == 2
    assert "--budget 40000: dit spends at most 28000 block passes" in capsys.readouterr().err
