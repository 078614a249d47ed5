"""The training set of ImageNet: 1,281,167 images of 1,000 classes in train/<wnid>/<name>.JPEG."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench.data.images import read_file
from bench.system.errors import BadInputError, first_few, naming

_WNID = re.compile(r"n\d{8}")
_SUFFIXES = (b".jpeg", b".jpg")
_LISTING_THREADS = 16  # folders listed at once: a network file system answers slowly


class ImageNet:
    """Images ordered by class and name. The label is the index of the class among the sorted wnids.

    Names are arrays of bytes: a million Python strings would be copied into every worker process.
    """

    def __init__(self, path: Path) -> None:
        """Open train/ or its parent folder. BadInputError if `path` is neither, or a class has no images."""
        train = path / "train" if (path / "train").is_dir() else path
        entries = os.scandir(train) if train.is_dir() else ()
        wnids = sorted(entry.name for entry in entries if _WNID.fullmatch(entry.name) and entry.is_dir())
        if not wnids:
            raise BadInputError(f"{path}: no ImageNet there; expected folders train/<wnid>/ of JPEG files")
        with ThreadPoolExecutor(_LISTING_THREADS) as pool:
            self._names = list(pool.map(_list_images, (train / wnid for wnid in wnids)))
        if empty := [wnid for wnid, names in zip(wnids, self._names, strict=True) if not len(names)]:
            raise BadInputError(
                f"{train}: no JPEG files in {len(empty):,} of {len(wnids):,} class folders ({first_few(empty)}); "
                "complete them, or remove what is no class"
            )
        self._train, self._wnids = train, wnids
        counts = [len(names) for names in self._names]
        self._starts = np.cumsum([0, *counts])
        self.labels = np.repeat(np.arange(len(wnids), dtype=np.int64), counts)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        label = self.labels[index]
        name = self._names[label][index - self._starts[label]]
        return f"{self._wnids[label]}/{os.fsdecode(name)}"

    def read(self, index: int) -> bytes:
        return read_file(self._train, self.name(index))


def _list_images(folder: Path) -> np.ndarray:
    with naming(folder), os.scandir(os.fsencode(folder)) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(_SUFFIXES))
    return np.array(names, dtype=np.bytes_)
