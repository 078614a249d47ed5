"""Eight processes write into one store while another reads it: what is read is whole, and nothing is lost."""

import multiprocessing
import os
import time
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.records import Record, Store

SECONDS = float(os.environ.get("SOAK_SECONDS", "10"))
WRITERS, CELLS = 8, 6  # cells of each writer alone, and as many that all of them write


def cells_of(writer):
    seeds = tuple(range(1000 + CELLS * writer, 1000 + CELLS * (writer + 1)))
    cells = get_cells("smoothing", get_suite("digits"), Selection(budgets=(140,), seeds=seeds, models=("dit",)))
    return [cell for cell in cells if cell.measure == "quality"]


def all_cells():
    """Those of each writer, and those that all of them write."""
    return [cell for writer in range(WRITERS + 1) for cell in cells_of(writer)]


def record_of(cell, writer, number):
    """A record of some 50 kB that tells whether it is whole: its reason is the digest of its series."""
    series = np.random.default_rng([writer, number]).random(2500).round(6).tolist()
    return Record(
        key=cell.key,
        status="done",
        reason=sha256(repr(series).encode()).hexdigest(),
        cell=cell.spec(),
        inputs={},
        metrics={"writer": writer, "number": number},
        series={"residuals": series},
    )


def is_whole(record):
    return sha256(repr(record.series["residuals"]).encode()).hexdigest() == record.reason


def shade_of(path):
    """The one shade of kept images that are whole."""
    (shade,) = set(np.asarray(Image.open(path)).flat)
    return shade


def write(results, writer, start, written):
    """Write records and images again and again; put the number of the last record of each own cell."""
    store, own, everyones, number = Store(results, "digits"), cells_of(writer), cells_of(WRITERS), 0
    start.wait()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        number += 1
        for cell in own + everyones:
            store.write(record_of(cell, writer, number))
        for cell in (own[0], everyones[0]):
            store.write_images(cell, np.full((40, 1, 64, 64), number % 256, dtype=np.uint8))
    written.put((writer, number))


def read(results, start, found):
    """Read all that is there again and again; put how many records were read. All have to be whole."""
    store, count = Store(results, "digits"), 0
    start.wait()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until or not count:
        for cell in all_cells():
            if (record := store.read(cell)) is not None:
                assert is_whole(record)
                count += 1
            if (path := store.images_path(cell)).exists():
                shade_of(path)
    found.put(count)


@pytest.mark.slow
def test_what_is_read_is_whole_and_nothing_is_lost(tmp_path, capsys):
    context = multiprocessing.get_context("spawn")
    written, found, start = context.Queue(), context.Queue(), context.Barrier(WRITERS + 1)
    processes = [context.Process(target=write, args=(tmp_path, i, start, written)) for i in range(WRITERS)]
    processes.append(context.Process(target=read, args=(tmp_path, start, found)))
    for process in processes:
        process.start()
    numbers = dict(written.get(timeout=SECONDS + 120) for _ in range(WRITERS))
    count = found.get(timeout=60)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = Store(tmp_path, "digits")
    for writer, number in numbers.items():
        for cell in cells_of(writer):
            record = store.read(cell)
            assert is_whole(record)
            assert record.metrics == {"writer": writer, "number": number}
        assert shade_of(store.images_path(cells_of(writer)[0])) == number % 256
    assert all(is_whole(store.read(cell)) for cell in cells_of(WRITERS))
    assert {path.stem for path in (store.root / "records").iterdir()} == {cell.key for cell in all_cells()}
    assert len(list((store.root / "images").iterdir())) == WRITERS + 1
    with capsys.disabled():
        total = sum(numbers.values()) * 2 * CELLS
        print(
            f"\nstore: {WRITERS} writers, {total:,} records in {SECONDS:.0f} s; a reader: {count:,} records, all whole"
        )
