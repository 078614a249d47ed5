"""Long work over a dataset, in shards: several processes share it, and what was interrupted goes on at the next shard.

    <folder>/<stem>-00007.json   what shard 7 came to; written last and whole, so that its being there means done
    <folder>/<stem>-00007.lock   held by the process that makes it

No process needs to know how many others there are: ranks of one job, tasks of an array or a second submission alike.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.errors import BadInputError
from bench.locks import hold
from bench.store import write_json

Summary = dict[str, Any]


def shard_ranges(count: int, shard_size: int) -> list[range]:
    """Cut range(count) into shards of `shard_size`, the last one smaller."""
    return [range(start, min(start + shard_size, count)) for start in range(0, count, shard_size)]


def make_shards(folder: Path, stem: str, shards: Iterable[int], make: Callable[[int], Summary]) -> bool:
    """Make the shards that are not there and that no other process is making; whether all are there now.

    Args:
        folder: where they are kept.
        stem: what their files are called.
        shards: numbers, in the order to try them.
        make: makes one: writes its files whole, and returns what goes into its JSON file.
    """
    shards = list(shards)
    for shard in shards:
        if _path(folder, stem, shard).exists():
            continue
        with hold(folder / f"{stem}-{shard:05d}.lock") as held:
            if held and not _path(folder, stem, shard).exists():
                write_json(_path(folder, stem, shard), make(shard))
    return all(_path(folder, stem, shard).exists() for shard in shards)


def read_shard(folder: Path, stem: str, shard: int) -> Summary:
    """What a shard came to. BadInputError if its file is damaged or missing."""
    path = _path(folder, stem, shard)
    try:
        summary = json.loads(path.read_text())
        if not isinstance(summary, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise BadInputError(f"shard {path} is damaged ({error}): delete it to have it made again") from error
    return summary


def _path(folder: Path, stem: str, shard: int) -> Path:
    return folder / f"{stem}-{shard:05d}.json"
