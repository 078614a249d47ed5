"""Image files in a folder or a zip file, sorted by name, without classes: CelebA-HQ and FFHQ as they are passed on."""

import errno
import os
import zipfile
from pathlib import Path

import numpy as np

from bench.data.images import UnreadableImageError, read_file
from bench.system.errors import BadInputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def open_files(path: Path) -> "Folder | Zip":
    """Open a folder, with the folders in it, or a zip file. BadInputError if there are no images in it."""
    source = Folder(path) if path.is_dir() else Zip(path)
    if not len(source):
        raise BadInputError(f"{path}: no images there; expected a folder or a zip file of {', '.join(SUFFIXES)} files")
    return source


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


class Folder:
    """The image files under a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        files = (Path(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names)
        self._names = sorted(file.relative_to(path).as_posix() for file in files if _is_image(file.name))
        self.labels = np.zeros(len(self._names), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return self._names[index]

    def read(self, index: int) -> bytes:
        return read_file(self._path, self._names[index])


class Zip:
    """The image files in a zip file. Every process opens it for itself: a shared file has one position for all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as file:
                members = file.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise BadInputError(f"{path}: neither a folder nor a readable zip file ({error})") from error
        self._names = sorted(name for name in members if _is_image(name) and not name.startswith("__MACOSX/"))
        self.labels = np.zeros(len(self._names), dtype=np.int64)
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return self._names[index]

    def read(self, index: int) -> bytes:
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), zipfile.ZipFile(self._path)
            except zipfile.BadZipFile as error:  # no longer what it was
                raise OSError(errno.EIO, str(error), str(self._path)) from error
        try:
            return self._opened[1].read(self._names[index])
        except Exception as error:  # each way of compression has its own
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise UnreadableImageError(f"damaged in the zip file ({error})") from error

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_opened": None}
