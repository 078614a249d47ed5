"""bench/reference.py: statistics of a dataset, made in shards, by anyone, in any number of goes."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import refused
from PIL import Image
from torch import nn

from bench.data.decoding import decode, decode_and_hash
from bench.data.images import dataset_digest
from bench.prepare import reference_shards
from bench.prepare.reference_shards import ReferenceRun
from bench.quality.extractor import Extractor
from bench.quality.features import FEATURE_BATCH
from bench.quality.reference_statistics import load_statistics, statistics_path
from bench.reference import main
from bench.spec import suites
from bench.spec.extractors import INCEPTION
from bench.store.references import read_reference
from bench.system.command_line import run
from bench.system.errors import BadInputError
from bench.system.locks import hold

ROOT = Path(__file__).parents[3]
COUNT, SIZE = 37, 8


class Toy(nn.Module):
    """Features with means that are large against their spread: quarters' means far from 0. Counts its calls."""

    calls, limit = 0, 10**9

    def forward(self, images):
        self.calls += 1
        if self.calls > self.limit:
            raise KeyboardInterrupt
        means = nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)
        return (torch.cat([1000 + means, means**2], dim=1),)


def make_pictures(folder, count=COUNT, seed=0):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture
def data(tmp_path):
    return make_pictures(tmp_path / "data")


@pytest.fixture
def toy(cpu, tiny_suite, monkeypatch):
    """Makes celebahq a suite of small pictures, with a toy for an extractor."""
    suite = replace(
        tiny_suite.changed(config={"input_size": SIZE // 8, "patch_size": 1, "num_classes": 0}),
        name="celebahq",
        dataset="celebahq",
        evaluation=replace(tiny_suite.evaluation, extractor=INCEPTION),
    )
    monkeypatch.setitem(suites.SUITES, "celebahq", suite)
    extractor = Extractor(Toy(), INCEPTION, "0123456789abcdef", 24, cpu)
    monkeypatch.setattr("bench.quality.extractor.make_extractor", lambda name, device, weights: extractor)
    monkeypatch.setattr("bench.quality.features.FEATURE_BATCH", 4)
    return extractor


@pytest.fixture
def use_size(toy, monkeypatch):
    """Makes the suite one of pictures of another size."""

    def use(pixels):
        suite = suites.SUITES["celebahq"]
        resized = suite.changed(config={"input_size": pixels // 8})
        monkeypatch.setitem(suites.SUITES, "celebahq", resized)

    return use


@pytest.fixture
def make(tmp_path, data, toy):
    """The command line: make(), make("--skip-bad", data=..., results=...); returns its status."""

    def call(*more, data=data, results="results", prepared="prepared"):
        folders = ["--data", data, "--results", tmp_path / results, "--prepared", tmp_path / prepared]
        small = ["--shard-images", 10, "--batch-size", 7, "--workers", 0, "--device", "cpu"]
        arguments = ["--suite", "celebahq", *folders, *small, "--any-count", *more]
        return run(main, list(map(str, arguments)))

    return call


def statistics_of(tmp_path, prepared="prepared"):
    folder = tmp_path / prepared / "celebahq"
    (path,) = (path for path in folder.iterdir() if path.suffix != ".lock")  # the parts are removed
    return path


def features_of(data, toy):
    images = np.stack([decode(path.read_bytes(), SIZE) for path in sorted(data.glob("*.png"))])
    return toy(torch.from_numpy(images)).double().numpy()


def test_statistics_are_those_of_all_features(make, data, toy, tmp_path, capsys):
    assert make() == 0
    assert "reference statistics of 37 images -> " in capsys.readouterr().out
    path = statistics_of(tmp_path)
    statistics, reference = load_statistics(path)
    features = features_of(data, toy)
    assert statistics.count == COUNT
    np.testing.assert_allclose(statistics.mu, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.sigma, np.cov(features, rowvar=False), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(statistics.features, features, rtol=1e-6)
    assert path == statistics_path(tmp_path / "prepared" / "celebahq", reference.identity)
    assert read_reference(tmp_path / "results" / "celebahq") == reference
    identity = asdict(reference)
    assert len(identity.pop("digest")) == 64
    assert identity == {
        "dataset": "celebahq",
        "images": COUNT,
        "image_size": SIZE,
        "extractor": INCEPTION,
        "extractor_digest": toy.digest,
    }


def test_of_many_images_some_features_are_kept(make, data, toy, tmp_path, monkeypatch):
    monkeypatch.setattr(reference_shards, "kept_indices", lambda count, kept=None: np.array([0, 9, 10, 36]))
    assert make() == 0
    statistics, _ = load_statistics(statistics_of(tmp_path))
    np.testing.assert_allclose(statistics.features, features_of(data, toy)[[0, 9, 10, 36]], rtol=1e-6)
    assert statistics.count == COUNT


def test_what_is_there_is_not_made_again(make, toy, tmp_path, capsys):
    make()
    calls = toy._network.calls
    assert make() == 0
    assert "are there already" in capsys.readouterr().out
    assert make(results="others") == 0
    assert toy._network.calls == calls
    first, second = (read_reference(tmp_path / name / "celebahq") for name in ("results", "others"))
    assert first == second


def test_interruptions_and_batches_change_no_bit(make, toy, tmp_path):
    """Interrupted in its second shard, then gone on with, in batches of other sizes; the first shard is not redone."""
    make(prepared="uninterrupted")
    network = toy._network
    network.calls, network.limit = 0, 5
    assert make() == 130
    network.calls, network.limit = 0, 10**9
    assert make("--batch-size", "3", results="others") == 0
    assert network.calls == 3 + 3 + 2  # chunks of 4 in shards of 10, 10 and 7 images
    assert statistics_of(tmp_path).read_bytes() == statistics_of(tmp_path, "uninterrupted").read_bytes()


KILLED = """
import os, signal, sys
from dataclasses import replace
import torch
from bench.spec import suites
from bench.quality import extractor, features
from bench.spec.extractors import INCEPTION
from bench.reference import main
sys.path[:0] = ["tests/bench/prepare", "tests"]
from test_reference import Toy
digits = suites.SUITES["digits"]
evaluation = replace(digits.evaluation, extractor=INCEPTION)
small = digits.changed(config={"input_size": 1, "patch_size": 1, "num_classes": 0})
suites.SUITES["celebahq"] = replace(small, name="celebahq", dataset="celebahq", evaluation=evaluation)
class Dying(Toy):
    def forward(self, images):
        if self.calls == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images)
toy = extractor.Extractor(Dying(), INCEPTION, "0123456789abcdef", 24, torch.device("cpu"))
extractor.make_extractor = lambda name, device, weights: toy
features.FEATURE_BATCH = 4
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_is_gone_on_with(make, data, toy, tmp_path):
    make(prepared="uninterrupted")
    folders = ["--data", data, "--results", tmp_path / "results", "--prepared", tmp_path / "prepared"]
    small = ["--shard-images", 10, "--workers", 0, "--device", "cpu", "--any-count"]
    arguments = ["--suite", "celebahq", *folders, *small]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, *map(str, arguments)]
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (part,) = (tmp_path / "prepared" / "celebahq" / "reference-parts").glob("*.json")
    (part.parent / f".{part.name}.half-written").touch()
    toy._network.calls = 0
    assert make() == 0
    assert toy._network.calls == 3 + 3 + 2
    assert statistics_of(tmp_path).read_bytes() == statistics_of(tmp_path, "uninterrupted").read_bytes()


def test_processes_share_the_shards_and_the_last_one_merges(make, toy, tmp_path, capsys):
    make(prepared="alone")
    parts = tmp_path / "prepared" / "celebahq" / "reference-parts"
    network = toy._network
    network.calls, network.limit = 0, 5
    assert make() == 130
    (made,) = parts.glob("*.json")
    network.limit = 10**9
    with hold(parts / made.name.replace("00000.json", "00002.lock")) as held:
        assert held
        assert make() == 0
        assert "other processes are making the rest" in capsys.readouterr().out
        assert len(list(parts.glob("*.json"))) == 3
    assert make() == 0
    assert statistics_of(tmp_path).read_bytes() == statistics_of(tmp_path, "alone").read_bytes()


def test_who_comes_when_the_parts_are_merged_and_removed_makes_none(make, toy, tmp_path, monkeypatch, capsys):
    """It looked for the statistics before they were there, and for the parts when they were gone."""
    make()
    calls, find, looked = toy._network.calls, ReferenceRun._find, []
    monkeypatch.setattr(ReferenceRun, "_find", lambda self: find(self) if looked else looked.append(1))
    assert make() == 0
    assert "are there already" in capsys.readouterr().out
    assert toy._network.calls == calls
    statistics_of(tmp_path)


def test_two_processes_that_both_saw_the_last_shard_merge_once(make, toy, tmp_path, monkeypatch, capsys):
    """The second one waits for the first one's lock, and finds the statistics then, but neither parts nor folder."""
    merge, inside = ReferenceRun._merge, []

    def slow(self):
        inside.append(threading.Thread(target=lambda: inside.append(make())))
        inside[0].start()
        time.sleep(0.5)
        assert len(inside) == 1  # it waits
        return merge(self)

    monkeypatch.setattr(ReferenceRun, "_merge", slow)
    assert make() == 0
    inside[0].join()
    assert inside[1] == 0
    assert "are there already" in capsys.readouterr().out
    statistics_of(tmp_path)


def test_parts_that_a_process_merged_before_it_was_killed_are_removed_by_the_next(make, toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ReferenceRun, "_remove_parts", lambda self: None)
        assert make() == 0
    assert len(list((tmp_path / "prepared" / "celebahq" / "reference-parts").glob("*.safetensors"))) == 4
    calls = toy._network.calls
    assert make() == 0
    assert toy._network.calls == calls
    assert load_statistics(statistics_of(tmp_path))[0].count == COUNT


def test_another_reference_is_refused(make, toy, use_size, tmp_path, capsys):
    make()
    kept = statistics_of(tmp_path).read_bytes()
    others = make_pictures(tmp_path / "others", seed=1)
    identity = (tmp_path / "results" / "celebahq" / "reference.json").read_text()
    calls = toy._network.calls
    assert make(data=others) == 2
    use_size(2 * SIZE)
    assert make() == 2
    use_size(SIZE)
    assert toy._network.calls == calls  # before the work
    assert make(data=others, prepared="elsewhere") == 2  # after it: what the results are of is not there to compare
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "of other images or features" in error
    assert "choose another --results" in error
    assert not list((tmp_path / "elsewhere" / "celebahq").glob("*.safetensors"))
    assert (tmp_path / "results" / "celebahq" / "reference.json").read_text() == identity
    assert statistics_of(tmp_path).read_bytes() == kept
    calls = toy._network.calls
    assert make(data=others, prepared="elsewhere", results="elsewhere-too") == 0  # from the parts
    assert toy._network.calls == calls


def test_references_of_crops_of_two_sizes_lie_side_by_side(make, toy, use_size, tmp_path):
    make()
    first = read_reference(tmp_path / "results" / "celebahq")
    path = statistics_of(tmp_path)
    kept = path.read_bytes()
    use_size(2 * SIZE)
    assert make(results="larger") == 0
    second = read_reference(tmp_path / "larger" / "celebahq")
    assert (first.digest, first.image_size, second.image_size) == (second.digest, SIZE, 2 * SIZE)
    assert path.read_bytes() == kept
    assert load_statistics(statistics_path(path.parent, second.identity))[0].image_size == 2 * SIZE


def test_shards_of_two_versions_of_a_dataset_are_not_merged(make, data, toy, tmp_path, capsys):
    toy._network.limit = 8
    assert make() == 130  # the first two shards are made
    toy._network.limit = 10**9
    (data / "019.png").write_bytes((data / "020.png").read_bytes())  # none that the fingerprint looks at
    assert make() == 2
    assert "was made from another image 019.png" in capsys.readouterr().err.splitlines()[-1]


def test_images_that_cannot_be_read_stop_the_work_or_are_left_out(make, data, toy, tmp_path, capsys):
    for name in ("012.png", "031.png"):
        (data / name).write_bytes((data / name).read_bytes()[:100])
    assert make() == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: 2 unreadable images: 012.png (")
    assert "031.png" in error
    parts = tmp_path / "prepared" / "celebahq" / "reference-parts"
    assert sorted(path.stem[-5:] for path in parts.glob("*.json")) == ["00000", "00002"]
    assert not (tmp_path / "results").exists()
    toy._network.limit = toy._network.calls + 4
    assert make("--skip-bad") == 130
    toy._network.limit = 10**9
    assert make() == 2
    assert "1 unreadable images were left out by --skip-bad" in capsys.readouterr().err.splitlines()[-1]
    assert make("--skip-bad") == 0
    assert "35 images, without 2 that cannot be read" in capsys.readouterr().out
    path = statistics_of(tmp_path)
    statistics, reference = load_statistics(path)
    assert (statistics.count, reference.images) == (35, 35)
    assert make() == 2
    assert f"{path}: 2 unreadable images were left out" in capsys.readouterr().err.splitlines()[-1]
    assert make("--skip-bad") == 0
    for name in ("012.png", "031.png"):
        (data / name).unlink()
    features = features_of(data, toy)
    np.testing.assert_allclose(statistics.sigma, np.cov(features, rowvar=False), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("operation", "name", "number"),
    [
        ("mkdir", "reference-parts", errno.ENODEV),
        ("lock", "-00001.lock", errno.EIO),
        ("read", "015.png", errno.ENXIO),
        ("write", "-00001.safetensors", errno.ESTALE),
        ("write", "-00001.json", errno.ENOSPC),
        ("read", "-00001.safetensors", errno.EMFILE),
        ("read", "-00001.json", errno.ETIMEDOUT),
        ("write", "reference.json", errno.ENOTCONN),
        ("replace", "celebahq/reference-", errno.EBUSY),
    ],
)
def test_storage_that_fails_is_one_line_and_work_goes_on(operation, name, number, make, tmp_path, capsys):
    make(prepared="undisturbed", results="others")
    refused(make, operation, name, number, capsys, tmp_path)
    assert make() == 0
    assert statistics_of(tmp_path).read_bytes() == statistics_of(tmp_path, "undisturbed").read_bytes()
    assert read_reference(tmp_path / "results" / "celebahq") == read_reference(tmp_path / "others" / "celebahq")
    refused(make, "read", "reference.json", number, capsys, tmp_path)


def test_too_few_images(make, tmp_path, capsys):
    lonely = make_pictures(tmp_path / "one", count=1)
    assert make(data=lonely) == 2
    assert "a covariance needs two or more" in capsys.readouterr().err


def test_damaged_parts_are_told_of(make, toy, tmp_path, capsys):
    toy._network.limit = 5
    make()
    (part,) = (tmp_path / "prepared" / "celebahq" / "reference-parts").glob("*.safetensors")
    part.write_bytes(part.read_bytes()[:50])
    toy._network.limit = 10**9
    assert make() == 2
    assert f"shard {part.with_suffix('.json')} is damaged" in capsys.readouterr().err
    part.with_suffix(".json").unlink()
    assert make() == 0


def test_a_dataset_must_be_whole(data, toy, tmp_path, capsys):
    assert run(main, ["--suite", "celebahq", "--data", str(data), "--device", "cpu"]) == 2
    assert "expected 30,000" in capsys.readouterr().err


def test_a_dataset_must_have_all_classes(make, tmp_path, capsys):
    assert make("--classes", "2") == 2
    assert "celebahq: no images of 1 of 2 classes (labels 1), but samples are made of all" in capsys.readouterr().err
    assert not (tmp_path / "prepared").exists()


def test_the_digest_tells_how_transparent_images_were_decoded(make, data, toy, tmp_path):
    """Statistics of the colours that transparency hides are not taken for those of what is seen."""

    def digest(hashed):
        hashes = [hashed(path.read_bytes()) for path in sorted(data.glob("*.png"))]
        return dataset_digest(np.zeros(COUNT), np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32))

    def of_file(content):
        return sha256(content).digest()

    make()
    assert read_reference(tmp_path / "results" / "celebahq").digest == digest(of_file)
    with Image.open(data / "003.png") as image:
        image.putalpha(0)
    image.save(data / "003.png")
    make(results="transparent", prepared="transparent")
    found = read_reference(tmp_path / "transparent" / "celebahq").digest
    assert found == digest(lambda content: decode_and_hash(content, SIZE)[1]) != digest(of_file)


def test_features_are_computed_a_hundred_at_a_time():
    """It is in the identity of no record, but all depend on it."""
    assert FEATURE_BATCH == 100


def test_a_damaged_identity_is_told_of(make, tmp_path):
    make()
    path = tmp_path / "results" / "celebahq" / "reference.json"
    path.write_text(json.dumps({"dataset": "celebahq"}))
    with pytest.raises(BadInputError, match=r"is damaged .*: run bench/reference.py again"):
        read_reference(path.parent)
