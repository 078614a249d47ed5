"""Which reference statistics a suite's results are measured against. No torch.

Suites whose images are shipped name them by a digest in the code (`bench.data.DIGESTS`). Others have them made from the
user's own copy of the dataset by `bench/reference.py`, which writes their identity to results/<suite>/reference.json:
it is part of every quality cell's identity, and kept with the records.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.spec.cells import spec_hash
from bench.system.errors import BadInputError
from bench.system.files import write_json


@dataclass(frozen=True)
class Reference:
    """Identity of reference statistics.

    Attributes:
        dataset: whose images they are of.
        images: how many.
        image_size: of the centre crops, pixels.
        digest: SHA-256 over labels and images, as shipped (`bench.data.images.dataset_digest`).
        extractor: name of the feature extractor.
        extractor_digest: first 16 hex digits of the SHA-256 of its weights.
    """

    dataset: str
    images: int
    image_size: int
    digest: str
    extractor: str
    extractor_digest: str

    @property
    def identity(self) -> str:
        """SHA-256, in hex, over all of these: what protocols and the statistics' file name them by."""
        return spec_hash(self, 64)


def reference_path(suite_folder: Path) -> Path:
    """Where a suite's results keep the identity of their reference."""
    return suite_folder / "reference.json"


def read_reference(suite_folder: Path) -> Reference | None:
    """The reference of a suite's results, None if none was made yet. BadInputError if the file is damaged."""
    path = reference_path(suite_folder)
    if not path.exists():
        return None
    try:
        return Reference(**json.loads(path.read_text()))
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
    write_json(reference_path(suite_folder), asdict(reference))
