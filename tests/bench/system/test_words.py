"""Command lines as people type them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from bench.run_grid import main as run_grid
from bench.system.command_line import Group, parse, run
from bench.system.errors import BadInputError
from bench.train import Arguments as Training
from bench.train import main as train
from paper_figures.make_all import main as draw


@dataclass(frozen=True)
class Part:
    """A group."""

    grid: tuple[str, ...] = ("one",)
    """Grids."""
    seeds: Annotated[tuple[int, ...] | None, tyro.conf.arg(aliases=["--seed"])] = None
    """Seeds."""
    count: int = 3
    """A number."""
    folder: Path = Path("Here,There")
    """A path."""


@dataclass(frozen=True)
class Whole:
    """A command."""

    part: Group[Part] = field(default_factory=Part)
    """The group."""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Part()),
        (["--grid", "A,b", "C"], Part(grid=("a", "b", "c"))),
        (["--grid=A,b"], Part(grid=("a", "b"))),
        (["Two", "three,four", "--count", "5"], Part(grid=("two", "three", "four"), count=5)),
        (["--seed", "4"], Part(seeds=(4,))),
        (["--seeds", "4,-5", "6"], Part(seeds=(4, -5, 6))),
        (["--folder", "A,B"], Part(folder=Path("A,B"))),
        (["--folder=A,B"], Part(folder=Path("A,B"))),
    ],
)
def test_words_as_people_type_them(words, expected):
    assert parse(Whole, words, first="--grid").part == expected


@pytest.mark.parametrize("columns", ["40", "200"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--conut", "3"], "--conut: no such option; did you mean --count?"),
        (["--wholly-other", "3"], "--wholly-other: no such option"),
        (["--count", "many"], "--count many: give a whole number"),
        (["--count=many"], "--count=many"),
        (["--seeds", "1,two"], "--seeds 1 two: give whole numbers"),
        (["--count", "3", "more"], "more: not expected here"),
    ],
)
def test_a_wrong_word_is_named_with_what_would_be_right(words, message, columns, encoding, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    with pytest.raises(BadInputError) as error:
        parse(Whole, words)
    if "=" not in message:
        assert str(error.value) == f"{message} (--help lists the options)"
    else:
        assert "--count" in str(error.value)


def test_a_lone_name_is_the_grid(capsys):
    assert run(run_grid, ["Smoothing", "--plan", "--seeds", "0"]) == 0
    named = capsys.readouterr().out
    assert run(run_grid, ["--grid", "smoothing", "--plan", "--seed", "0"]) == 0
    assert capsys.readouterr().out == named
    assert run(run_grid, ["smoothing,reused"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown grid 'reused': choose all or one of ")
    assert run(draw, ["reused"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown grid 'reused'")


def test_several_grids_have_the_cells_of_each_once(capsys):
    keys = {}
    for grids in ("datasets", "compute", "datasets,compute"):
        assert run(run_grid, ["--grid", grids, "--list", "--seeds", "0"]) == 0
        keys[grids] = [line.rsplit(",")[-1] for line in capsys.readouterr().out.splitlines()[1:]]
    both = keys["datasets,compute"]
    assert set(both) == set(keys["datasets"]) | set(keys["compute"])
    assert len(set(both)) == len(both)


def test_several_seeds_train_several_replicates():
    runs = parse(Training, ["--models", "DiT,FPDM", "--seed", "0,2"]).runs()
    assert [(one.model, one.seed) for one in runs] == [("dit", 0), ("fpdm", 0), ("dit", 2), ("fpdm", 2)]
    assert run(train, ["--seeds", "-1"]) == 2
