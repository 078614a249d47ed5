"""Reading a dataset in shards: what is an image's fault and what is not, and how the work goes on or stops."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import ExitStack, nullcontext
from hashlib import sha256
from pathlib import Path

import lmdb
import numpy as np
import pytest
from made_images import encoded, make_files, make_imagenet, picture

from bench.data.images import open_images
from bench.prepare.fingerprint import check_ends, fingerprint
from bench.prepare.reading import Reader, Unreadable, UnreadableImagesError
from bench.prepare.shards import Shards
from bench.system.errors import BadInputError
from bench.system.locks import hold

ROOT = Path(__file__).parents[3]


def read_batches(source, indices, size, batch_size, workers):
    return Reader(source, size, batch_size, workers, skip_bad=True).batches(indices)


@pytest.fixture
def source(tmp_path):
    make_files(tmp_path / "ffhq")
    return open_images("ffhq", tmp_path / "ffhq")


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_left_out_and_told(source, tmp_path, workers):
    (tmp_path / "ffhq" / source.name(2)).unlink()
    (tmp_path / "ffhq" / source.name(5)).write_bytes(b"no image")
    (tmp_path / "ffhq" / source.name(6)).write_bytes(b"")
    batches = list(read_batches(source, range(7), 32, 3, workers))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1], [3, 4], []]
    assert [len(batch.images) for batch in batches] == [len(batch.hashes) for batch in batches] == [2, 2, 0]
    bad = [image for batch in batches for image in batch.unreadable]
    assert [image.index for image in bad] == [2, 5, 6]
    assert bad[0].reason == "No such file or directory"
    with pytest.raises(UnreadableImagesError, match="3 unreadable images"):
        list(Reader(source, 32, 3, workers, skip_bad=False).batches(range(7)))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES, errno.ENOTCONN])
@pytest.mark.parametrize("workers", [0, 2])
def test_where_the_storage_fails_no_image_is_blamed(source, monkeypatch, workers, number):
    read = Path.read_bytes

    def failing(path):
        if path.name == "00004.JPG":
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(BadInputError, match=f"^00001/00004.JPG: the storage fails .{os.strerror(number)}.") as error:
        list(read_batches(source, range(7), 32, 3, workers))
    assert "\n" not in str(error.value)


def make_churches(folder):
    with lmdb.open(str(folder), map_size=2**20) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"0", encoded(0))


def make_zip(folder):
    folder.mkdir()
    with zipfile.ZipFile(folder / "images.zip", "w") as file:
        file.writestr("0.png", encoded(0, "png"))


@pytest.mark.parametrize(
    ("dataset", "make", "place"),
    [
        ("ffhq", make_files, ""),
        ("ffhq", make_zip, "images.zip"),
        ("imagenet", make_imagenet, ""),
        ("church", make_churches, ""),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_images_of_a_folder_that_is_no_longer_mounted_are_not_unreadable(tmp_path, dataset, make, place, empty):
    """What is left is an empty folder, or none."""
    folder = tmp_path / "data"
    make(folder)
    source = open_images(dataset, folder / place)
    shutil.rmtree(folder)
    if empty:
        folder.mkdir()
    with pytest.raises(BadInputError, match="the storage fails"):
        list(read_batches(source, range(1), 32, 1, 0))
    with pytest.raises(BadInputError, match="the storage fails"):
        fingerprint(source)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_members_of_a_compressed_zip_file_are_unreadable(tmp_path, method):
    path = tmp_path / "ffhq.zip"
    for place in range(60, 600, 60):
        with zipfile.ZipFile(path, "w", method) as file:
            for i in range(2):
                file.writestr(f"{i}.png", encoded(i, "png"))
        content = bytearray(path.read_bytes())
        content[place : place + 8] = bytes(0xFF ^ byte for byte in content[place : place + 8])
        path.write_bytes(content)
        (batch,) = read_batches(open_images("ffhq", path), range(2), 32, 2, 0)
        assert [image.name for image in batch.unreadable] == ["0.png"]
        assert "damaged in the zip file" in batch.unreadable[0].reason


def test_all_bad_shards_are_tried_and_listed_once(tmp_path):
    """Of shards 0..4, 1 and 3 are bad; another process has tried 3, and holds 3 and 4 now."""
    unreadable = {1: [Unreadable(5, "a\tb", "empty"), Unreadable(6, "c", "empty")], 3: [Unreadable(8, "d", "no\x85t")]}
    tried = []

    def make(shard):
        tried.append(shard)
        if shard in unreadable:
            raise UnreadableImagesError(unreadable[shard])
        return {"unreadable": []}

    shards = Shards(tmp_path, "part", 10, 2, skip_bad=False)
    with ExitStack() as others:
        for shard in (0, 1, 2, 4):
            others.enter_context(hold(shards.path(shard, ".lock")))
        with pytest.raises(BadInputError, match=r"^1 unreadable image: d "):
            shards.make(make)
    with hold(shards.path(4, ".lock")), hold(shards.path(3, ".lock")), pytest.raises(BadInputError) as error:
        shards.make(make)
    assert tried == [3, 0, 1, 2]
    assert str(error.value).startswith("3 unreadable images: a b (empty), c (empty), d (no")
    assert f"all are listed in {tmp_path}/part-unreadable.txt" in str(error.value)
    assert "--skip-bad" in str(error.value)
    assert "\n" not in str(error.value)
    rows = (tmp_path / "part-unreadable.txt").read_text("utf-8").split("\n")
    assert [row.split("\t")[0] for row in rows] == ["5", "6", "8", ""]
    unreadable.clear()
    assert shards.make(make, start=2)
    assert tried == [3, 0, 1, 2, 3, 4, 1]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == [
        f"part-0000{shard}.json" for shard in range(5)
    ]


def test_what_was_left_out_is_not_taken_without_being_told(tmp_path):
    def make(shard):
        return {"unreadable": [{}] * shard}

    for _ in range(2):
        assert Shards(tmp_path, "part", 3, 1, skip_bad=True).make(make)
    match = r"3 unreadable images were left out .*--skip-bad: .*delete part-00001.json, part-00002.json"
    with pytest.raises(BadInputError, match=match):
        Shards(tmp_path, "part", 3, 1, skip_bad=False).make(make)


def test_a_part_is_known_by_its_first_and_last_image(source, tmp_path):
    indices = np.array([2, 3, 5])
    hashes = np.stack([np.frombuffer(sha256(source.read(i)).digest(), np.uint8) for i in indices])
    check_ends(source, indices, hashes, "part 1")
    check_ends(source, indices[:0], hashes[:0], "part 1")
    (tmp_path / "ffhq" / source.name(2)).unlink()  # what is missing is told of elsewhere
    check_ends(source, indices, hashes, "part 1")
    (tmp_path / "ffhq" / source.name(5)).write_bytes(b"another")
    with pytest.raises(BadInputError, match=r"part 1 was made from another image 00001/00005.webp"):
        check_ends(source, indices, hashes, "part 1")


def test_a_part_that_was_decoded_by_another_rule_is_not_gone_on_with(source, tmp_path):
    """By an earlier version, which hashed the file only and took the colours that transparency hides."""
    path = tmp_path / "ffhq" / source.name(0)
    for alpha, refused in ((255, False), (0, True)):
        image = picture(0, mode="RGBA")
        image.putalpha(alpha)
        image.save(path)
        hashes = np.frombuffer(sha256(path.read_bytes()).digest(), np.uint8).reshape(1, 32)
        with pytest.raises(BadInputError, match="made from another image") if refused else nullcontext():
            check_ends(source, np.array([0]), hashes, "part 0")


WORKERS = """
import multiprocessing, sys, time
from pathlib import Path
from bench.data.image_files import Folder
from bench.prepare.reading import Reader
from bench.system.locks import hold
class Slow(Folder):
    def read(self, index):
        if index >= 20:  # a big batch, not read yet when the process is killed
            time.sleep(600)
        return super().read(index)
source = Slow(Path(sys.argv[1]))
with hold(Path(sys.argv[2])) as held:
    assert held
    batches = Reader(source, 256, 20, 3, skip_bad=True).batches(range(len(source)))
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def test_workers_of_a_killed_process_end_and_keep_no_lock(tmp_path):
    make_files(tmp_path / "ffhq", 80)
    command = [sys.executable, "-c", WORKERS, str(tmp_path / "ffhq"), str(tmp_path / "one.lock")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 3
        process.kill()
    with hold(tmp_path / "one.lock") as held:
        assert held
    deadline = time.monotonic() + 3
    while (left := [pid for pid in workers if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


class Fatal:
    """A dataset whose images 3.. end the process that reads them."""

    labels = np.zeros(8, dtype=np.int64)

    def __init__(self, end):
        self.end, self.encoded = end, encoded(0, "png")

    def __len__(self):
        return 8

    def name(self, index):
        return f"{index}.png"

    def read(self, index):
        return self.end() if index >= 3 else self.encoded


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "was killed by SIGTERM"),
        (lambda: os._exit(1), "ended with status 1"),
    ],
)
def test_a_worker_that_dies_is_one_line(end, how):
    batches = read_batches(Fatal(end), range(8), 32, 2, 2)
    assert next(batches).indices.tolist() == [0, 1]
    with pytest.raises(BadInputError, match=rf"^--workers 2: a process that reads images {how}; .*--workers 0$"):
        list(batches)


def test_a_worker_without_memory_raises_as_the_process_itself():
    def fails():
        raise MemoryError("no room")

    for workers in (0, 2):
        with pytest.raises(MemoryError, match="no room"):
            list(read_batches(Fatal(fails), range(8), 32, 2, workers))


SMALL_SHARED_MEMORY = """
import sys
from pathlib import Path
from bench.data.images import open_images
from bench.prepare.reading import Reader
source = open_images("ffhq", Path(sys.argv[1]))
for batch in Reader(source, 256, 4, 2, skip_bad=True).batches(range(len(source))):
    print(len(batch.images))
"""


def test_no_shared_memory_is_needed(tmp_path):
    """As in a container: a batch is larger than all of /dev/shm, which is full."""
    make_files(tmp_path / "ffhq", 12)
    mount = "mount -t tmpfs -o size=256k tmpfs /dev/shm && { cat /dev/zero >/dev/shm/full 2>/dev/null; true; }"
    private = ["unshare", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*private, mount], capture_output=True).returncode:
        pytest.skip("no mount namespace of our own: needs root")
    command = [*private, f'{mount} && exec "$@"', "sh", sys.executable, "-c", SMALL_SHARED_MEMORY, tmp_path / "ffhq"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["4", "4", "4"]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
