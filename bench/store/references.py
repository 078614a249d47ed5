"""The identity of a suite's reference statistics on disk: results/<suite>/reference.json."""

import json
from pathlib import Path

from bench.spec.reference import Reference
from bench.system.errors import BadInputError
from bench.system.files import read_if_there, write_json


def reference_path(suite_folder: Path) -> Path:
    """File with the identity of the reference of a suite's results."""
    return suite_folder / "reference.json"


def read_reference(suite_folder: Path) -> Reference | None:
    """The reference of a suite's results, None if none was made yet. BadInputError if the file is damaged."""
    path = reference_path(suite_folder)
    if (content := read_if_there(path)) is None:
        return None
    try:
        return Reference(**json.loads(content))
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{path} is damaged ({error}): run bench/reference.py again") from error


def write_reference(suite_folder: Path, reference: Reference) -> None:
    """Keep the identity of a suite's reference. BadInputError if its results already have another."""
    known = read_reference(suite_folder)
    if known is not None and known != reference:
        raise BadInputError(
            f"{reference_path(suite_folder)} is of other images or features (identity {known.identity[:12]}, now "
            f"{reference.identity[:12]}): choose another --results, or delete it with its records"
        )
    write_json(reference_path(suite_folder), reference.spec())
