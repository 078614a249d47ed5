"""The identity of a suite's reference statistics on disk: results/<suite>/reference.json.

Statistics of the same images in a second extractor's features have reference-<extractor>.json.
"""

import json
from pathlib import Path

from bench.spec.reference import Reference
from bench.system.errors import BadInputError
from bench.system.files import read_if_there, write_json


def reference_path(suite_folder: Path, second: str = "") -> Path:
    """File with the identity of the reference of a suite's results.

    `second`: name of a second extractor; empty for the suite's own, as in the functions below.
    """
    return suite_folder / (f"reference-{second}.json" if second else "reference.json")


def read_reference(suite_folder: Path, second: str = "") -> Reference | None:
    """The reference of a suite's results, None if none was made yet.

    BadInputError if the file is damaged, or if that of a second extractor is of other images than the suite's own.
    """
    path = reference_path(suite_folder, second)
    if (content := read_if_there(path)) is None:
        return None
    try:
        reference = Reference(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{path} is damaged ({error}): run bench/reference.py again") from error
    if second:
        _check_images(suite_folder, reference, f"{path}: delete it, and run bench/reference.py again")
    return reference


def write_reference(suite_folder: Path, reference: Reference, second: str = "") -> None:
    """Keep the identity of a suite's reference.

    BadInputError if its results already have another, or if a second extractor's is of other images than the suite's.
    """
    path, known = reference_path(suite_folder, second), read_reference(suite_folder, second)
    if known is not None and known != reference:
        raise BadInputError(
            f"{path} is of other images or features (identity {known.identity[:12]}, now "
            f"{reference.identity[:12]}): choose another --results, or delete it with its records"
        )
    if second:
        _check_images(suite_folder, reference, f"{path} is not written: choose another --results")
    write_json(path, reference.spec())


def _check_images(suite_folder: Path, second: Reference, advice: str) -> None:
    """BadInputError, with advice, if a second extractor's reference is of other images than the suite's own."""
    own = read_reference(suite_folder)
    if own is not None and (own.digest, own.image_size) != (second.digest, second.image_size):
        raise BadInputError(
            f"{reference_path(suite_folder)} is of images of digest {own.digest[:12]}, the statistics in "
            f"{second.extractor}'s features are of {second.digest[:12]}; {advice}"
        )
