"""Image files in a folder or a zip file, sorted by name, without classes: CelebA-HQ and FFHQ as they are passed on."""

import os
import zipfile
from pathlib import Path

import numpy as np

from bench.errors import BadInputError

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
        return (self._path / self._names[index]).read_bytes()


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
            self._opened = os.getpid(), zipfile.ZipFile(self._path)
        try:
            return self._opened[1].read(self._names[index])
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:  # the last two: encrypted
            raise OSError(f"damaged in the zip file ({error})") from error

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_opened": None}
