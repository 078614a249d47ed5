"""Finished batches of a quality cell, one file each: a killed cell resumes after its last batch.

    results/<suite>/partial/<cell key>/batch-00017.safetensors

Images are kept only while they wait for the next batch to have their features computed with it. The folder is removed
when the cell is done. It may be deleted if the cell is not wanted any more.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from bench.store.tensors import read_tensors
from bench.system.files import write_bytes

_TENSORS = ("features", "waiting", "digests", "taken")
_NUMBERS = ("executed", "sampling_s", "decoding_s", "features_s")


@dataclass(frozen=True)
class Part:
    """A finished batch, without the images whose features are computed.

    Attributes:
        features: (any, dimensions), the features computed with this batch (see `FeatureStream`).
        waiting: uint8 (any, channels, size, size), images whose features wait for the next batch.
        digests: uint8 (batch, 32), the SHA-256 of each image.
        taken: (batch,), iterations of each sample over all steps; (0,) for networks without iterations.
        executed: iterations that the batch ran, over all steps.
        sampling_s, decoding_s, features_s: seconds of sampling, of decoding, and of features.
    """

    features: Tensor
    waiting: Tensor
    digests: Tensor
    taken: Tensor
    executed: int
    sampling_s: float
    decoding_s: float
    features_s: float


class Partial:
    """The parts of one cell. One process at a time uses them (`bench.evaluation.workers`).

    Args:
        folder: where they are (`Store.partial_folder`).
        identity: weights, code and machine that the parts depend on beside the cell. Parts of another are not used.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self._folder, self._identity = folder, json.dumps(dict(identity), sort_keys=True)

    def resume(self) -> list[Part]:
        """The parts from the first batch to the first gap. All other files are deleted, damaged ones included.

        OSError if the storage fails, so that a part cannot be told from a damaged one.
        """
        parts: list[Part] = []
        while (part := self._read(len(parts))) is not None:
            parts.append(part)
        usable = {self._path(index) for index in range(len(parts))}
        for path in set(self._folder.glob("*")) - usable:
            path.unlink(missing_ok=True)
        return parts

    def add(self, index: int, part: Part) -> None:
        """Keep the part of a batch."""
        tensors = {name: getattr(part, name).contiguous() for name in _TENSORS}
        numbers = {name: getattr(part, name) for name in _NUMBERS}
        content = save(tensors, {"identity": self._identity, "numbers": json.dumps(numbers)})
        write_bytes(self._path(index), content)

    def _path(self, index: int) -> Path:
        return self._folder / f"batch-{index:05d}.safetensors"

    def _read(self, index: int) -> Part | None:
        try:
            tensors, metadata = read_tensors(self._path(index))
            if metadata["identity"] != self._identity:
                return None
            values: dict[str, Any] = {name: tensors[name] for name in _TENSORS} | json.loads(metadata["numbers"])
            return Part(**values)
        except (FileNotFoundError, SafetensorError, KeyError, ValueError, TypeError):
            return None


def forget(folder: Path) -> None:
    """Delete a cell's parts."""
    shutil.rmtree(folder, ignore_errors=True)
