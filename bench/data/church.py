"""LSUN Church: an lmdb of encoded images, in the order of its keys. No classes."""

import errno
from pathlib import Path

import lmdb
import numpy as np

from bench.data.images import UnreadableImageError
from bench.system.errors import BadInputError

FOLDER = "church_outdoor_train_lmdb"


class Church:
    """The images of church_outdoor_train, in the order of torchvision's LSUN.

    torchvision is not used: it unpickles its list of keys from any cache file in the working directory.
    """

    def __init__(self, path: Path) -> None:
        """Open the folder of the lmdb, or its parent. BadInputError if there is no lmdb or it is damaged."""
        folder = path / FOLDER if (path / FOLDER).is_dir() else path
        if not (folder / "data.mdb").is_file():
            raise BadInputError(f"{path}: no LSUN churches there; expected the folder {FOLDER} with data.mdb in it")
        self._folder = str(folder.resolve())
        try:
            with _open(self._folder) as environment, environment.begin() as transaction:
                _check_size(folder / "data.mdb", environment)
                self._keys = np.array(list(transaction.cursor().iternext(keys=True, values=False)), dtype=np.bytes_)
            if not len(self._keys):
                raise ValueError("no images in it")
        except (lmdb.Error, ValueError) as error:
            raise BadInputError(
                f"{folder / 'data.mdb'}: damaged, or its storage fails ({error}); copy or download it again"
            ) from error
        self.labels = np.zeros(len(self._keys), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def name(self, index: int) -> str:
        return self._keys[index].decode(errors="backslashreplace")

    def read(self, index: int) -> bytes:
        try:
            with _open(self._folder) as environment, environment.begin() as transaction:
                encoded = transaction.get(bytes(self._keys[index]))
        except (lmdb.CorruptedError, lmdb.PageNotFoundError) as error:
            raise UnreadableImageError(f"damaged in the lmdb ({error})") from error
        except lmdb.Error as error:
            raise OSError(errno.EIO, str(error), self._folder) from error
        if encoded is None:
            raise UnreadableImageError("no longer in the lmdb")
        return encoded


def _open(folder: str) -> lmdb.Environment:
    """Open the lmdb for one access: an open lmdb must not survive a fork or be opened twice in a process.

    Opening takes 70 us; decoding an image takes milliseconds.
    """
    return lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)


def _check_size(file: Path, environment: lmdb.Environment) -> None:
    """ValueError if the file is truncated: reading beyond its end would kill the process."""
    expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if file.stat().st_size < expected:
        raise ValueError(f"{file.stat().st_size:,} bytes, expected {expected:,}")
