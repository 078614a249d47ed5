"""A disk that is full in the middle of each kind of write: one line, status 2, nothing half-written, and it goes on.

The disk is a small tmpfs. Just before a file of the kind is written, another file takes all of its space but a page.
"""

import json
import os
import pkgutil
import shutil
import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatch

import numpy as np
import pytest
import torch
from made_images import make_files, make_vae
from outcome import differences, files
from safetensors.numpy import load_file
from torch import nn

from bench.quality import extractor
from bench.spec import suites
from bench.spec.extractors import INCEPTION
from bench.system.command_line import run

pytestmark = pytest.mark.slow

PAGE = os.sysconf("SC_PAGE_SIZE")
TRAIN, GRID, ENCODE = "bench.train:main", "bench.run_grid:main", "bench.encode_latents:main"
REFERENCE, DRAW = "bench.reference:main", "paper_figures.make_all:main"

KINDS = [  # command, kind, pattern of the file or folder that is made, bytes that are left
    (TRAIN, "metrics log", "*/training/.*.jsonl.*", 0),
    (TRAIN, "weights", "*/checkpoints/*/.step-*", PAGE),
    (TRAIN, "description of a checkpoint", "*/.step-*meta.json*", 0),
    (TRAIN, "summary", "*/training/.*.json.*", 0),
    (GRID, "record", "*/records/.*", 0),
    (GRID, "images", "*/images/.*", 0),
    (GRID, "finished batch", "*/partial/*/.batch-*", PAGE),
    (ENCODE, "settings", "*/.settings.json.*", 0),
    (ENCODE, "moments", "*/.moments-*.npy.*", PAGE),
    (ENCODE, "hashes", "*/.hashes-*.npy.*", 0),
    (ENCODE, "summary of a shard", "*/.moments-*.json.*", 0),
    (ENCODE, "labels", "*/.labels.npy.*", 0),
    (ENCODE, "manifest", "*/.manifest.json.*", 0),
    (REFERENCE, "moments of a shard", "*/reference-parts/.*.safetensors.*", 0),
    (REFERENCE, "summary of a shard", "*/reference-parts/.*.json.*", 0),
    (REFERENCE, "identity", "*/.reference.json.*", 0),
    (REFERENCE, "statistics", "*/.reference-*.safetensors.*", 0),
    (DRAW, "table", "*/tables/*.csv*", 0),
    (DRAW, "readable table", "*/tables/*.md*", 0),
    (DRAW, "table for papers", "*/tables/*.tex*", 0),
    (DRAW, "figure", "*/figures/*.png*", PAGE),
    (DRAW, "figure for papers", "*/figures/*.pdf*", PAGE),
    (DRAW, "claims", "*claims.md*", 0),
    (DRAW, "environments", "*/.environment.json.*", 0),
]


class Disk:
    """A small file system that is filled as soon as a file or folder with a name like `pattern` is made."""

    def __init__(self, folder):
        self.folder, self.pattern, self.left, self.filled = folder, "", 0, False

    def watch(self, event, arguments):
        made = event == "os.mkdir" or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT)
        if made and self.pattern and fnmatch(str(arguments[0]), f"{self.folder}{self.pattern}"):
            self.pattern = ""
            self.fill()

    def fill(self):
        space = os.statvfs(self.folder)
        with (self.folder / "ballast").open("wb") as file:
            file.write(bytes(space.f_bavail * space.f_frsize - self.left))
        self.filled = True


watched = []
sys.addaudithook(lambda event, arguments: [disk.watch(event, arguments) for disk in watched])  # it cannot be removed


@pytest.fixture
def disk(tmp_path):
    """A tmpfs of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount: {mounted.stderr.decode().strip()}")
    watched.append(Disk(folder))
    yield watched[0]
    watched.clear()
    subprocess.run(["umount", "--lazy", folder], check=True)


class Toy(nn.Module):
    """Mean colors, as features."""

    def forward(self, images):
        return (nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1),)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    make_files(folder / "images", 9)
    make_vae(folder / "vae")
    return folder


@pytest.fixture
def arguments(inputs, tiny_suite, monkeypatch):
    """Makes the arguments of a command that works in a folder."""
    suite = tiny_suite.changed(recipe={"slice_s": 0.01})
    monkeypatch.setitem(suites.SUITES, "digits", replace(suite, evaluation=replace(suite.evaluation, batch_size=10)))
    toy = extractor.Extractor(Toy(), INCEPTION, "0123456789abcdef", 12, torch.device("cpu"))
    made = extractor.make_extractor
    monkeypatch.setattr(
        extractor, "make_extractor", lambda name, *more: toy if name == INCEPTION else made(name, *more)
    )
    monkeypatch.setattr("bench.run_grid._draw", lambda arguments: 0)
    images = ["--suite", "ffhq", "--data", inputs / "images", "--any-count", "--workers", 0, "--shard-images", 4]

    def make(command, folder):
        results, prepared = ["--results", folder / "results"], ["--prepared", folder / "prepared"]
        cells = ["--grid", "smoothing", "--budget", 28, "--seeds", 0]
        found = {
            TRAIN: [*results, "--device", "cpu"],
            GRID: [*results, "--device", "cpu", *cells, "--workers", 1],
            ENCODE: [*images, *prepared, "--device", "cpu", "--vae", inputs / "vae", "--image-size", 32],
            REFERENCE: [*images, *prepared, *results, "--device", "cpu"],
            DRAW: [*results, *cells[2:]],
        }[command]
        return list(map(str, found + (["--train-steps", 12] if command in (TRAIN, GRID, DRAW) else [])))

    return make


def is_whole(path, expected):
    """Whether a file can be read to its end, or is that of an undisturbed run."""
    if path.suffix in (".json", ".jsonl"):
        return all(map(json.loads, path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]))
    if path.suffix == ".safetensors":
        return bool(load_file(path))
    if path.suffix == ".npy":
        return len(np.load(path)) > 0
    return path.read_bytes() == expected.read_bytes()


NEEDED = {GRID: [TRAIN], DRAW: [TRAIN, GRID]}  # commands whose results a command needs
kept = {}


@pytest.fixture
def whole(arguments, tmp_path_factory):
    """Makes the folder of a command that was not disturbed; each command runs once."""

    def make(command):
        if command not in kept:
            folder = tmp_path_factory.mktemp("whole")
            if needed := NEEDED.get(command):
                shutil.copytree(make(needed[-1]), folder, dirs_exist_ok=True)
            assert run(pkgutil.resolve_name(command), arguments(command, folder)) == 0
            kept[command] = folder
        return kept[command]

    return make


@pytest.mark.parametrize(("command", "kind", "pattern", "left"), KINDS, ids=[kind for _, kind, *_ in KINDS])
def test_a_full_disk_is_one_line_and_what_was_written_is_whole(
    command, kind, pattern, left, disk, arguments, whole, capfd
):
    expected, folder = whole(command), disk.folder
    if needed := NEEDED.get(command):
        shutil.copytree(whole(needed[-1]), folder, dirs_exist_ok=True)
    main, argv = pkgutil.resolve_name(command), arguments(command, folder)
    capfd.readouterr()
    disk.pattern, disk.left = pattern, left
    assert run(main, argv) == 2
    assert disk.filled
    *progress, line = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "No space left on device" in line
    assert all("%|" in one or not one.strip() for one in progress), progress
    (folder / "ballast").unlink()
    for name, path in files(folder).items():
        assert not any(part.startswith(".") for part in path.relative_to(folder).parts), name
        assert path.is_dir() or is_whole(path, expected / name), name
    assert run(main, argv) == 0
    assert differences(folder, expected) == []
