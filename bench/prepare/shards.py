"""Long work over a dataset, in shards: several processes share it, and what was interrupted goes on at the next shard.

    <folder>/<stem>-00007.json             what shard 7 came to; written last and whole: its being there means done
    <folder>/<stem>-00007.lock             held by the process that makes it
    <folder>/<stem>-00007-unreadable.txt   its images that cannot be read, where it is not made because of them
    <folder>/<stem>-unreadable.txt         those of all shards, where the work has stopped because of them

No process needs to know how many others there are: ranks of one job, tasks of an array or a second submission alike.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.prepare.reading import Unreadable
from bench.system.errors import BadInputError
from bench.system.files import write_json, write_whole
from bench.system.locks import hold

Summary = dict[str, Any]
_SHOWN = 3  # unreadable images in a message


class UnreadableImagesError(Exception):
    """A shard has images that cannot be read and are not to be left out: it is not made.

    Args:
        images: all of them.
    """

    def __init__(self, images: Sequence[Unreadable]) -> None:
        super().__init__(f"{len(images)} unreadable images")
        self.images = images


def shard_ranges(count: int, shard_size: int) -> list[range]:
    """Cut range(count) into shards of `shard_size`, the last one smaller."""
    return [range(start, min(start + shard_size, count)) for start in range(0, count, shard_size)]


def make_shards(folder: Path, stem: str, shards: Iterable[int], make: Callable[[int], Summary], skip_bad: bool) -> bool:
    """Make the shards that are not there and that no other process is making; whether all are there now.

    Args:
        folder: where they are kept.
        stem: what their files are called.
        shards: numbers, in the order to try them.
        make: makes one: writes its files whole, and returns what goes into its JSON file, the images that it left out
            as a list `unreadable`. UnreadableImagesError where there are such and they are not to be left out.
        skip_bad: leave unreadable images out.

    Raises:
        BadInputError: after all shards have been tried: there are unreadable images, or there were and they were left
            out, and `skip_bad` is not said.
    """
    shards = list(shards)
    for shard in shards:
        if _path(folder, stem, shard).exists():
            continue
        with hold(folder / f"{stem}-{shard:05d}.lock") as held:
            if held and not _path(folder, stem, shard).exists():
                _list_path(folder, stem, shard).unlink(missing_ok=True)
                try:
                    write_json(_path(folder, stem, shard), make(shard))
                except UnreadableImagesError as error:
                    _write_list(_list_path(folder, stem, shard), error.images)
    _check_unreadable(folder, stem, shards, skip_bad)
    check_left_out(folder, stem, shards, skip_bad)
    return all(_path(folder, stem, shard).exists() for shard in shards)


def read_shard(folder: Path, stem: str, shard: int) -> Summary:
    """What a shard came to. BadInputError if its file is damaged or missing."""
    return _read(_path(folder, stem, shard))


def _read(path: Path) -> Summary:
    try:
        summary = json.loads(path.read_text())
        if not isinstance(summary, dict) or not isinstance(summary["unreadable"], list):
            raise ValueError("not a shard's")
    except (OSError, ValueError, KeyError) as error:
        raise BadInputError(f"shard {path} is damaged ({error}): delete it to have it made again") from error
    return summary


def check_left_out(folder: Path, stem: str, shards: Iterable[int], skip_bad: bool) -> None:
    """BadInputError if shards that are there left images out, and `skip_bad` is not said."""
    if skip_bad:
        return
    left_out = {}
    for path in (_path(folder, stem, shard) for shard in sorted(shards)):
        try:
            left_out[path.name] = len(_read(path)["unreadable"]) if path.exists() else 0
        except BadInputError:
            if path.exists():  # else another process has put all shards together meanwhile, and removed them
                raise
    if any(left_out.values()):
        bad = ", ".join(name for name, count in left_out.items() if count)
        raise BadInputError(
            f"{folder}: {sum(left_out.values())} unreadable images were left out there by --skip-bad: say it again, or "
            f"delete {bad} to have those shards made whole"
        )


def _check_unreadable(folder: Path, stem: str, shards: Iterable[int], skip_bad: bool) -> None:
    """One list of what all shards lack, those that other processes have tried included. BadInputError if any do."""
    whole, rows = folder / f"{stem}-unreadable.txt", list[str]()
    for path in (_list_path(folder, stem, shard) for shard in sorted(shards)):
        with suppress(FileNotFoundError):
            rows += path.read_text("utf-8").rstrip("\n").split("\n")
    if not rows or skip_bad:
        whole.unlink(missing_ok=True)
        return
    write_whole(whole, lambda file: file.write("".join(f"{row}\n" for row in rows).encode()))
    shown = ", ".join("{1} ({2})".format(*row.split("\t")) for row in rows[:_SHOWN])
    raise BadInputError(
        f"{len(rows)} unreadable image{'s' * (len(rows) > 1)}: {shown}{', ...' * (len(rows) > _SHOWN)} "
        f"(all are listed in {whole}); put them right, or say --skip-bad to leave them out"
    )


def _write_list(path: Path, images: Iterable[Unreadable]) -> None:
    """A line for each: index, name, reason."""
    lines = "".join(f"{bad.index}\t{' '.join(bad.name.split())}\t{bad.reason}\n" for bad in images)
    write_whole(path, lambda file: file.write(lines.encode(errors="backslashreplace")))


def _path(folder: Path, stem: str, shard: int) -> Path:
    return folder / f"{stem}-{shard:05d}.json"


def _list_path(folder: Path, stem: str, shard: int) -> Path:
    return folder / f"{stem}-{shard:05d}-unreadable.txt"
