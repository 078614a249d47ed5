"""Image files in a folder or a zip file, sorted by name, without classes: CelebA-HQ and FFHQ."""

import errno
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np

from bench.data.images import UnreadableImageError, read_file
from bench.system.errors import BadInputError, naming

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def open_files(path: Path) -> "Folder | Zip":
    """Open a folder with its subfolders, or a zip file. BadInputError if it has no images."""
    source = Folder(path) if path.is_dir() else Zip(path)
    if not len(source):
        raise BadInputError(f"{path}: no images there; expected a folder or a zip file of {', '.join(SUFFIXES)} files")
    return source


class _Files:
    """Image files in the order of their names."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self._path, self._names = path, sorted(name for name in names if name.lower().endswith(SUFFIXES))
        self.labels = np.zeros(len(self._names), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return self._names[index]


class Folder(_Files):
    """The image files in a folder and its subfolders."""

    def __init__(self, path: Path) -> None:
        folders = os.walk(path, onerror=_raise, followlinks=True)
        files = (Path(folder, name) for folder, _, names in folders for name in names)
        with naming(path):
            super().__init__(path, (file.relative_to(path).as_posix() for file in files))

    def read(self, index: int) -> bytes:
        return read_file(self._path, self._names[index])


def _raise(error: OSError) -> NoReturn:
    """A folder that cannot be listed is not left out: its images would be missing from the dataset."""
    raise error


class Zip(_Files):
    """The image files in a zip file. Every process opens the file itself: processes would share one file position."""

    def __init__(self, path: Path) -> None:
        try:
            with naming(path), zipfile.ZipFile(path) as file:
                members = file.namelist()
        except zipfile.BadZipFile as error:
            raise BadInputError(f"{path}: neither a folder nor a readable zip file ({error})") from error
        super().__init__(path, (name for name in members if not name.startswith("__MACOSX/")))
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def read(self, index: int) -> bytes:
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), zipfile.ZipFile(self._path)
            except zipfile.BadZipFile as error:  # the file has changed since
                raise OSError(errno.EIO, str(error), str(self._path)) from error
        try:
            return self._opened[1].read(self._names[index])
        except Exception as error:  # each compression method raises its own kind
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise UnreadableImageError(f"damaged in the zip file ({error})") from error

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_opened": None}
