"""Long work over a dataset, cut into shards that processes share. Interrupted work goes on with the missing shards.

    <folder>/<stem>-00007.json             summary of shard 7; written last: if it exists, the shard is done
    <folder>/<stem>-00007.lock             held by the process that makes shard 7
    <folder>/<stem>-00007-unreadable.txt   the unreadable images of shard 7, if they prevented it
    <folder>/<stem>-unreadable.txt         the unreadable images of all shards, if they stopped the work

No process needs to know of the others: they may be ranks of a job, tasks of an array or separate submissions.
"""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.prepare.reading import Unreadable, UnreadableImagesError
from bench.system.errors import BadInputError, first_few
from bench.system.files import read_bytes, write_bytes, write_json, write_text
from bench.system.locks import hold

Summary = dict[str, Any]


@dataclass(frozen=True)
class Shards:
    """The shards of one work.

    Attributes:
        folder: where their files are.
        stem: beginning of the files' names.
        images: number of images in all shards.
        size: images in a shard; the last one may be smaller.
        skip_bad: leave unreadable images out.
    """

    folder: Path
    stem: str
    images: int
    size: int
    skip_bad: bool

    def __len__(self) -> int:
        return len(self.ranges)

    @cached_property
    def ranges(self) -> list[range]:
        """The images of each shard."""
        starts = range(0, self.images, self.size)
        return [range(start, min(start + self.size, self.images)) for start in starts]

    def path(self, shard: int, suffix: str = ".json") -> Path:
        """A file of a shard, by default its summary."""
        return self.folder / f"{self.stem}-{shard:05d}{suffix}"

    def is_done(self, shard: int) -> bool:
        """Whether a shard has its summary."""
        return self.path(shard).exists()

    def read(self, shard: int) -> Summary:
        """The summary of a shard. BadInputError if its file is missing or damaged."""
        try:
            summary = json.loads(read_bytes(self.path(shard)))
            if not isinstance(summary, dict) or not isinstance(summary["unreadable"], list):
                raise ValueError("not the summary of a shard")
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise self.damaged(shard, error) from error
        return summary

    def damaged(self, shard: int, error: Exception) -> BadInputError:
        """The error for a shard with damaged files."""
        return BadInputError(f"shard {self.path(shard)} is damaged ({error}): delete it and run the same command again")

    def make(self, make: Callable[[int], Summary], start: int = 0) -> bool:
        """Make the shards that are missing and that no other process is making; returns whether all are done then.

        Args:
            make: makes a shard. It writes the shard's files and returns the summary, which lists the images left out
                as `unreadable`. UnreadableImagesError if it has unreadable images and `skip_bad` is False.
            start: the shard to begin with; the others follow cyclically.

        Raises:
            BadInputError: `skip_bad` is False, and images are unreadable or were left out earlier. Raised after all
                shards were tried.
        """
        for shard in (*range(start, len(self)), *range(start)):
            if self.is_done(shard):
                continue
            with hold(self.path(shard, ".lock")) as held:
                if held and not self.is_done(shard):
                    self._list_path(shard).unlink(missing_ok=True)
                    try:
                        write_json(self.path(shard), make(shard))
                    except UnreadableImagesError as error:
                        _write_list(self._list_path(shard), error.images)
        self._check_unreadable()
        self.check_left_out()
        return all(map(self.is_done, range(len(self))))

    def check_left_out(self) -> None:
        """BadInputError if images were left out of finished shards and `skip_bad` is False."""
        if self.skip_bad:
            return
        left_out = {}
        for shard in range(len(self)):
            try:
                left_out[self.path(shard).name] = len(self.read(shard)["unreadable"]) if self.is_done(shard) else 0
            except BadInputError:
                if self.is_done(shard):  # otherwise another process has merged and removed the shards
                    raise
        if any(left_out.values()):
            bad = ", ".join(name for name, count in left_out.items() if count)
            raise BadInputError(
                f"{self.folder}: {sum(left_out.values())} unreadable images were left out by --skip-bad: repeat "
                f"--skip-bad, or delete {bad} to make those shards again"
            )

    def _check_unreadable(self) -> None:
        """List the unreadable images of all shards, also those that other processes tried. BadInputError if any."""
        whole, rows = self.folder / f"{self.stem}-unreadable.txt", list[str]()
        for shard in range(len(self)):
            with suppress(FileNotFoundError):
                rows += read_bytes(self._list_path(shard)).decode().rstrip("\n").split("\n")
        if not rows or self.skip_bad:
            whole.unlink(missing_ok=True)
            return
        write_text(whole, "".join(f"{row}\n" for row in rows))
        shown = first_few(["{1} ({2})".format(*row.split("\t")) for row in rows])
        raise BadInputError(
            f"{len(rows)} unreadable image{'s' * (len(rows) > 1)}: {shown} "
            f"(all are listed in {whole}); repair them, or leave them out with --skip-bad"
        )

    def _list_path(self, shard: int) -> Path:
        return self.path(shard, "-unreadable.txt")


def first_shard(count: int) -> int:
    """The shard that this process begins with: tasks of a Slurm job or array begin far from each other."""
    tasks, task = (int(os.environ.get(name, default)) for name, default in (("SLURM_NTASKS", 1), ("SLURM_PROCID", 0)))
    arrays = int(os.environ.get("SLURM_ARRAY_TASK_COUNT", 1))
    array = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0)) - int(os.environ.get("SLURM_ARRAY_TASK_MIN", 0))
    return (array * tasks + task) * count // (arrays * tasks) % count


def _write_list(path: Path, images: Iterable[Unreadable]) -> None:
    """Write a line for each image: index, name, reason."""
    lines = "".join(f"{bad.index}\t{' '.join(bad.name.split())}\t{bad.reason}\n" for bad in images)
    write_bytes(path, lines.encode(errors="backslashreplace"))
