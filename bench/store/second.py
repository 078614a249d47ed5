"""The second extractor of a suite's cells: whether it measures too, and the records that have its distance.

It measures where its weights are given and the results have statistics of its features. Such a cell has a key of its
own. Its record has all metrics of the cell without a second extractor, which is therefore not evaluated again.
"""

from dataclasses import replace
from pathlib import Path

from bench.spec.cells import Cell
from bench.spec.contenders import Suite
from bench.spec.extractors import SECOND_EXTRACTORS
from bench.spec.measurements import AnyCell
from bench.spec.metrics import SECOND_METRICS
from bench.spec.selection import Selection
from bench.store.references import read_reference, reference_path
from bench.system.errors import BadInputError


def with_second(selection: Selection, suite: Suite, folder: Path) -> Selection:
    """The selection, with the suite's second extractor if the results in a folder have statistics of its features."""
    name = suite.evaluation.second_extractor
    return replace(selection, second=read_reference(folder, name)) if name and selection.reference else selection


def chosen_second(suite: Suite, weights: Path | None) -> str:
    """Name of the suite's second extractor; empty without its weights. BadInputError if they are given for none."""
    name = suite.evaluation.second_extractor
    if weights is not None and not name:
        raise BadInputError(
            f"--dinov2-weights {weights}: suite {suite.name} has no Frechet distance in DINOv2's features; leave it out"
        )
    return name if weights is not None else ""


def check_second(selection: Selection, suite: Suite, folder: Path, weights: Path | None) -> None:
    """BadInputError if weights of a second extractor were given and it cannot measure."""
    name = chosen_second(suite, weights)
    if weights is None:
        return
    if not weights.is_file():
        raise BadInputError(f"--{name}-weights {weights}: no such file")
    if selection.reference and not selection.second:
        raise BadInputError(
            f"--{name}-weights {weights}: {reference_path(folder, name)} is not there, which names the statistics of "
            f"its features; make it with {_making(suite)}"
        )


def second_in_plan(selection: Selection, suite: Suite, folder: Path, weights: Path | None) -> str:
    """A line of a plan on the distance in the second extractor's features; empty for a suite without one."""
    if not (name := suite.evaluation.second_extractor):
        return ""
    label = SECOND_METRICS[name].label
    if selection.second:
        return f"{label} is measured beside FD, in features of {selection.second.extractor}"
    lacking = [] if weights else [f"{SECOND_EXTRACTORS[name].label}'s weights (--{name}-weights FILE)"]
    if not reference_path(folder, name).exists():
        lacking.append(f"statistics of its features ({_making(suite)})")
    return f"{label} will not be measured: it needs {' and '.join(lacking)}"


def _making(suite: Suite) -> str:
    """The command that makes the statistics."""
    return f"bench/reference.py --suite {suite.name} --data DIR --{suite.evaluation.second_extractor}-weights FILE"


def with_distance(cell: AnyCell, folder: Path) -> list[Cell]:
    """The cells that differ from a cell in a second extractor only, one for each that the results have statistics of.

    Empty for a cell that has a second extractor, or that no extractor judges.
    """
    if not isinstance(cell, Cell) or cell.measure != "quality" or cell.protocol.second is not None:
        return []
    seconds = (known.of_second(name) for name in SECOND_EXTRACTORS if (known := read_reference(folder, name)))
    return [replace(cell, protocol=replace(cell.protocol, second=second)) for second in seconds]
