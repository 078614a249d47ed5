"""Which images of a user the results of suite `folder` are of: results/folder/dataset.json."""

import json
from pathlib import Path

from bench.spec.datasets import OWN, OwnImages
from bench.system.errors import BadInputError
from bench.system.files import read_if_there, write_json


def images_file(results: Path) -> Path:
    """The file in a results folder."""
    return results / OWN / "dataset.json"


def read_own(results: Path, suite: str = OWN) -> OwnImages | None:
    """The images of a results folder; None if there are none yet, or for another suite. BadInputError if damaged."""
    path = images_file(results)
    if suite != OWN or (content := read_if_there(path)) is None:
        return None
    try:
        return OwnImages.from_spec(json.loads(content))
    except (ValueError, TypeError, KeyError) as error:
        raise BadInputError(
            f"{path} is damaged ({error}): delete it; the command with --data writes it again"
        ) from error


def write_own(results: Path, own: OwnImages) -> None:
    """Keep what the images are. BadInputError if the results are of others."""
    known = read_own(results)
    check_same(results, known, own)
    if known != own:
        write_json(images_file(results), own.spec())


def check_same(results: Path, known: OwnImages | None, own: OwnImages) -> None:
    """BadInputError unless results, if there are any, are of these images, prepared and judged in the same way.

    Held-out images may be added.
    """
    if known is None:
        return
    then, now = known.spec(), own.spec()
    if known.held_out is None:
        del then["held_out"]
    if differing := [name for name, value in then.items() if now[name] != value]:
        name = next((one for one in ("extractor", "twins", "image_size", "classes") if one in differing), differing[-1])
        raise BadInputError(
            f"{results / OWN} has results of other images: {name} was {_short(then[name])}, now {_short(now[name])}; "
            "choose another --results"
        )


def _short(value: object) -> str:
    value = value["digest"] if isinstance(value, dict) else value
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value)[:24]
