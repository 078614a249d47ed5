import errno
import json
import os
import threading
from typing import ClassVar

import numpy as np
import pytest
import torch
from faults import fault

from bench.benchmarks.latent_files import write_latents
from bench.data.batches import Batch, BatchSource, Prefetched, batch_indices
from bench.data.latents import Latents, LatentSource
from bench.system.errors import BadInputError

SHARDS = (7, 7, 5)
CHANNELS, SIDE = 2, 3


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("x0", "noise", "t", "y"))


def joined(batches):
    return Batch(*(torch.cat([getattr(batch, name) for batch in batches]) for name in ("x0", "noise", "t", "y")))


def made_up_moments(log_variance=-30.0):
    """Means are the row's number, negative for mirror images."""
    shards, row = [], 0
    for count in SHARDS:
        shard = np.full((count, 2, 2 * CHANNELS, SIDE, SIDE), log_variance, dtype=np.float16)
        shard[:, 0, :CHANNELS] = np.arange(row + 1, row + count + 1).reshape(-1, 1, 1, 1)
        shard[:, 1, :CHANNELS] = -shard[:, 0, :CHANNELS]
        shards.append(shard)
        row += count
    return shards


@pytest.fixture
def folder(tmp_path):
    return write_latents(tmp_path / "latents", made_up_moments(), np.arange(19) % 10)


@pytest.fixture
def random_folder(tmp_path):
    rng = np.random.default_rng(0)
    shards = [rng.normal(size=(count, 2, 2 * CHANNELS, SIDE, SIDE)).astype(np.float16) for count in SHARDS]
    return write_latents(tmp_path / "random", shards, np.arange(19) % 10)


def test_any_row_of_any_shard_at_any_time(folder):
    latents = Latents.open(folder, progress=False)
    assert len(latents) == 19
    assert latents.labels.tolist() == [i % 10 for i in range(19)]
    assert latents.shape == (CHANNELS, SIDE, SIDE)
    rows = torch.tensor([18, 0, 6, 7, 13, 14, 0])
    mirrored = torch.tensor([False, True, False, True, False, True, False])
    moments = latents.moments(rows, mirrored)
    assert moments.dtype == torch.float32
    assert moments.shape == (7, 2 * CHANNELS, SIDE, SIDE)
    assert moments[:, 0, 0, 0].tolist() == [19, -1, 7, -8, 14, -15, 1]
    assert moments[:, CHANNELS:].unique().tolist() == [-30]
    for row in (19, -1):
        with pytest.raises(IndexError):
            latents.moments([row], [False])


def test_a_changed_file_is_found_by_its_hash(folder):
    path = folder / "moments-00001.npy"
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    with pytest.raises(BadInputError, match=r"moments-00001.npy was changed: delete moments-00001.json and manifest"):
        Latents.open(folder, progress=False)
    Latents.open(folder, verify=False)


@pytest.mark.parametrize("name", ["moments-00002.npy", "labels.npy"])
def test_truncated_and_missing_files_are_found_without_hashing(folder, name):
    size = (folder / name).stat().st_size
    os.truncate(folder / name, size - 1)
    with pytest.raises(BadInputError, match=rf"{name} has {size - 1} bytes, expected {size}: delete"):
        Latents.open(folder, verify=False)
    (folder / name).unlink()
    with pytest.raises(BadInputError, match=rf"{name} is missing"):
        Latents.open(folder, verify=False)


def test_a_file_that_is_truncated_while_it_is_used_is_an_error_and_kills_no_process(folder):
    """As one whose server is gone. A mapped file would end the process by SIGBUS."""
    latents = Latents.open(folder, verify=False)
    os.truncate(folder / "moments-00001.npy", 200)
    assert latents.moments([0, 18], [False, True])[:, 0, 0, 0].tolist() == [1, -19]
    with pytest.raises(OSError, match="was truncated") as caught:
        latents.moments([9], [False])
    assert caught.value.filename == str(folder / "moments-00001.npy")


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["manifest.json", "labels.npy", "moments-00001.npy"])
def test_where_the_storage_fails_nothing_is_said_to_be_damaged(name, number, folder):
    operation = "open" if name.startswith("moments") else "read"
    with fault(operation, name, number), pytest.raises(OSError) as caught:
        Latents.open(folder, verify=False)
    assert (caught.value.errno, caught.value.filename) == (number, str(folder / name))
    assert len(Latents.open(folder, verify=False)) == 19


def test_latents_let_go_of_their_files(folder):
    before = len(os.listdir("/proc/self/fd"))
    latents = Latents.open(folder, verify=False)
    assert len(os.listdir("/proc/self/fd")) == before + len(SHARDS)
    del latents
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_damaged_manifest_is_found(folder, tmp_path):
    path = folder / "manifest.json"
    whole = path.read_text()
    manifest = json.loads(whole)
    path.write_text(whole[:-20])
    with pytest.raises(BadInputError, match=r"manifest.json is damaged"):
        Latents.open(folder)
    path.write_text(json.dumps(manifest | {"count": 18}))
    with pytest.raises(BadInputError, match=r"digest"):
        Latents.open(folder)
    path.write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(BadInputError, match=r"format 99, expected"):
        Latents.open(folder)
    with pytest.raises(BadInputError, match=r"manifest.json: no such file; bench/encode_latents.py"):
        Latents.open(tmp_path)
    moved = manifest | {"vae": manifest["vae"] | {"source": "elsewhere"}}  # the same weights from another place
    path.write_text(json.dumps(moved))
    assert Latents.open(folder, progress=False).digest == manifest["digest"]


def latent_source(folder, num_classes=10, dropout=0.1):
    return LatentSource(Latents.open(folder, verify=False), num_classes, dropout, 1000)


def pixel_source():
    x0 = torch.randn(19, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return BatchSource(x0, torch.arange(19) % 10, 10, 0.1, 1000, digest="0123")


PARTS = (
    [range(0, 8), range(8, 16)],
    [range(0, 3), range(3, 4), range(4, 16)],
    [range(i, i + 1) for i in range(16)],
    [range(0, 16), range(16, 16)],
)


@pytest.mark.parametrize("parts", PARTS, ids=len)
@pytest.mark.parametrize("kind", ["pixels", "latents"])
def test_the_parts_of_a_batch_are_the_whole_bit_for_bit(kind, parts, random_folder):
    source = pixel_source() if kind == "pixels" else latent_source(random_folder)
    for step in (0, 5):
        whole = source.draw(3, step, 16)
        assert len(whole.x0) == len(whole.noise) == len(whole.t) == len(whole.y) == 16
        assert same(whole, joined([source.draw(3, step, 16, part) for part in parts]))
        assert not torch.equal(whole.noise[:8], whole.noise[8:])


@pytest.mark.parametrize("part", [range(0, 17), range(-1, 4), range(0, 16, 2), range(5, 3)])
def test_a_part_beyond_the_batch_is_an_error(part):
    with pytest.raises(ValueError, match="of a batch of 16"):
        pixel_source().draw(0, 0, 16, part)


def test_pixel_batches_are_those_drawn_before_there_were_parts():
    """Sums that the source gave when it was first committed."""
    batch = pixel_source().draw(0, 3, 16)
    assert batch.t.tolist()[:4] == [723, 121, 960, 481]
    assert batch.y.tolist() == [1, 9, 3, 5, 10, 0, 4, 1, 0, 0, 9, 4, 3, 2, 2, 3]
    assert float(batch.noise.sum()) == pytest.approx(-15.02025, abs=1e-4)


def test_a_resumed_draw_is_the_same_and_others_are_not(random_folder):
    first, resumed = latent_source(random_folder), latent_source(random_folder)
    for step in range(4):
        batch = first.draw(0, step, 16)
    assert same(batch, resumed.draw(0, 3, 16))
    assert not torch.equal(batch.noise, resumed.draw(1, 3, 16).noise)
    assert not torch.equal(batch.noise, resumed.draw(0, 4, 16).noise)
    assert first.digest == Latents.open(random_folder, verify=False).digest
    assert first.autoencoder_digest == "made up"
    assert first.identity == {"data": first.digest, "images": "made up", "vae": "made up"}


def test_x0_is_the_scaled_latent_of_the_drawn_image_or_its_mirror_image(folder):
    source, mirrored = latent_source(folder, dropout=0.0), 0
    for step in range(20):
        batch = source.draw(0, step, 16)
        rows = batch_indices(0, step, 16, 19)
        means = batch.x0 / 0.5  # the scaling factor; log-variances of -30 leave nothing random
        torch.testing.assert_close(means.abs(), (rows + 1.0).view(-1, 1, 1, 1).expand_as(means), rtol=0, atol=1e-4)
        assert torch.equal(batch.y, rows % 10)
        mirrored += int((means[:, 0, 0, 0] < 0).sum())
    assert 120 < mirrored < 200  # of 320


def test_latents_are_sampled_from_their_posterior(tmp_path):
    moments = np.zeros((4, 2, 2, 32, 32), dtype=np.float16)
    moments[:, :, 0], moments[:, :, 1] = 3, np.log(4)
    source = latent_source(write_latents(tmp_path, [moments], np.zeros(4)), num_classes=0)
    batch = source.draw(0, 0, 64)
    assert batch.x0.mean() == pytest.approx(3 * 0.5, abs=0.02)
    assert batch.x0.std() == pytest.approx(2 * 0.5, abs=0.02)
    assert batch.noise.mean() == pytest.approx(0, abs=0.02)
    assert batch.noise.std() == pytest.approx(1, abs=0.02)
    assert abs(float(((batch.x0 - 1.5) * batch.noise).mean())) < 0.02
    assert batch.y.unique().tolist() == [0]  # the null label of a dataset without classes


def test_labels_are_dropped_to_the_null_label(random_folder):
    source = latent_source(random_folder, dropout=0.25)
    dropped = torch.cat([source.draw(0, step, 64).y == 10 for step in range(30)]).float().mean()
    assert 0.2 < dropped < 0.3
    assert all((t := source.draw(0, step, 64).t).min() >= 0 and t.max() < 1000 for step in range(5))


class Recorded:
    """A source that keeps account of what is drawn, and by which thread."""

    identity: ClassVar = {"data": "0123"}

    def __init__(self, source, fails_at=None):
        self.source, self.drawn, self.fails_at = source, [], fails_at

    def draw(self, *key):
        self.drawn.append((key, threading.current_thread() is threading.main_thread()))
        if key[1] == self.fails_at:
            raise OSError("the disk is gone")
        return self.source.draw(*key)


def test_prefetched_batches_are_the_same_and_drawn_beforehand(random_folder):
    source = latent_source(random_folder)
    recorded = Recorded(source)
    prefetched = Prefetched(recorded)
    assert prefetched.identity == {"data": "0123"}
    parts = (range(0, 8), range(8, 16))
    for step in range(5):  # two micro-batches a step
        for part in parts:
            assert same(prefetched.draw(0, step, 16, part), source.draw(0, step, 16, part))
    assert same(prefetched.draw(0, 2, 16), source.draw(0, 2, 16))  # back, and another part
    prefetched.close()
    in_time = [key[1] for key, in_main in recorded.drawn if in_main]
    assert in_time == [0, 0, 2]
    beforehand = [key for key, in_main in recorded.drawn if not in_main]
    assert [key[1] for key in beforehand[:8]] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert same(prefetched.draw(0, 3, 16), source.draw(0, 3, 16))  # closed: no more threads
    assert threading.active_count() == 1 or not any(t.name.startswith("prefetch") for t in threading.enumerate())


def test_what_fails_beforehand_fails_when_it_is_asked_for(random_folder):
    prefetched = Prefetched(Recorded(latent_source(random_folder), fails_at=1))
    prefetched.draw(0, 0, 16)
    with pytest.raises(OSError, match="the disk is gone"):
        prefetched.draw(0, 1, 16)
    prefetched.close()
