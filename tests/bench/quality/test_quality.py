"""Quality in a stream: any batches give the same numbers; Inception's weights are read safely; latent suites."""

import pickle
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from made_images import make_inception, pictures
from pretend_gpu import CUDA
from safetensors.torch import save_file
from torch_fidelity import feature_extractor_inceptionv3 as inceptionv3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from bench.data.pixels import load_dataset
from bench.quality.classifier import load_classifier, weights_path
from bench.quality.extractor import make_extractor
from bench.quality.features import FeatureStream
from bench.quality.inception import state_digest
from bench.quality.kid import KernelDistance
from bench.quality.meter import QualityMeter
from bench.quality.moments import Moments
from bench.quality.reference_statistics import (
    ReferenceStatistics,
    check_extractor,
    kept_indices,
    read_identity,
    reference_of,
    statistics_path,
)
from bench.spec.cells import Protocol
from bench.spec.extractors import INCEPTION
from bench.system.errors import BadInputError


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits").images


@pytest.fixture(scope="module")
def meter(digits):
    extractor = make_extractor("digits-cnn", torch.device("cpu"))
    return QualityMeter(ReferenceStatistics.from_images(digits, extractor), extractor)


@pytest.fixture(scope="module")
def noisy(digits):
    noise = torch.randn((750, 1, 8, 8), generator=torch.Generator().manual_seed(3))
    return (digits[:750].float() + 20 * noise).round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("batch", [1, 7, 99, 100, 125, 101])
def test_the_batches_that_images_come_in_change_no_bit(meter, noisy, batch):
    measurement = meter.start()
    for images in noisy[:253].split(batch):
        measurement.add(images)
    assert measurement.finish(5, 100) == meter.measure(noisy[:253], 5, 100)


def test_a_stream_keeps_few_images_and_waits_for_whole_chunks(digits):
    seen = []

    class Counter:
        dimensions = 3

        def __call__(self, images):
            seen.append(len(images))
            return torch.zeros(len(images), self.dimensions)

    stream = FeatureStream(Counter())
    for count in (60, 0, 30, 170, 39):
        stream.add(digits[:count])
    assert seen == [100, 100]
    assert [len(chunk) for chunk in stream.finish()] == [99]
    assert stream.finish() == []


def test_quality_of_digits_is_what_it_was(meter, noisy, digits):
    """To the bit what features of all images at once give; and what committed records were made with."""
    classifier = load_classifier(weights_path("digits-cnn"))
    with torch.inference_mode():
        features, reference = (
            torch.cat([classifier(part)[0] for part in images.split(100)]).double() for images in (noisy, digits)
        )
    statistics = [fid_features_to_statistics(side) for side in (features, reference)]
    quality = meter.measure(noisy, 50, 500)
    assert quality["fid"] == fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert (quality["kid"], quality["kid_subset_std"]) == KernelDistance(reference).measure(features, 50, 500)
    was = {"fid": 0.2691707462849351, "kid": 0.010286774645467211, "kid_subset_std": 0.0062797936578363215}
    assert {name: quality[name] for name in was} == pytest.approx(was, rel=1e-4)


def test_merged_moments_are_those_of_all():
    """Where the mean is a million times the spread, sums of squares would have no digit left."""
    rng = np.random.default_rng(0)
    vectors = 1e6 * rng.random(5) + rng.standard_normal((301, 5)) * [1, 2, 3, 4, 5]
    merged = None
    for part in np.split(vectors, [1, 3, 100, 250]):
        merged = Moments.of(part) if merged is None else merged.merged(Moments.of(part))
    assert merged.count == 301
    np.testing.assert_allclose(merged.mean, vectors.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(merged.covariance, np.cov(vectors, rowvar=False), rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(merged.covariance, merged.covariance.T)


def test_kept_features_are_evenly_spaced():
    np.testing.assert_array_equal(kept_indices(7), np.arange(7))
    np.testing.assert_array_equal(kept_indices(10, 4), [0, 2, 5, 7])
    kept = kept_indices(1_281_167)
    assert len(kept) == 10_000
    assert set(np.diff(kept)) == {128, 129}


# Inception


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    return make_inception(tmp_path_factory.mktemp("weights") / "inception.pth")


@pytest.fixture(scope="module")
def inception_state(inception_file):
    return torch.load(inception_file, weights_only=True)


@pytest.mark.parametrize(
    ("name", "shape"), [("digits-cnn", (1, 8, 8)), ("fashion-cnn", (1, 32, 32)), (INCEPTION, (3, 24, 24))]
)
def test_features_on_a_gpu_that_is_not_there(name, shape, inception_file, gpu):
    extractor = make_extractor(name, CUDA, inception_file)
    features = FeatureStream(extractor).add(torch.zeros(200, *shape, dtype=torch.uint8))
    assert [(part.shape[0], part.dtype, part.device.type) for part in features] == 2 * [(100, torch.float32, "cpu")]
    assert gpu.seen["convolution"] == {torch.float32}


def test_inception_from_a_file(inception_file, inception_state, tmp_path, cpu):
    """torch-fidelity's own features. Few images against 2048 dimensions: finite."""
    extractor = make_extractor(INCEPTION, cpu, inception_file)
    theirs = inceptionv3.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=inception_file)
    images = pictures(3)
    statistics = ReferenceStatistics.from_images(images, extractor)
    features = statistics.features
    assert (features.shape, features.dtype, extractor.dimensions) == ((3, 2048), torch.float32, 2048)
    assert features.std(dim=0).mean() > 1e-3
    torch.testing.assert_close(features, theirs(images)[0], rtol=0, atol=0)
    quality = QualityMeter(statistics, extractor).measure(pictures(2, seed=1), 2, 2)
    assert quality["fid"] > 1e-3
    assert np.isfinite([quality["fid"], quality["kid"]]).all()


def test_the_digest_is_of_the_tensors_in_any_file(inception_file, inception_state, tmp_path, cpu):
    digest = make_extractor(INCEPTION, cpu, inception_file).digest
    torch.save(dict(reversed(inception_state.items())), tmp_path / "again.pth")
    save_file(inception_state, tmp_path / "inception.safetensors")
    assert (tmp_path / "again.pth").read_bytes() != inception_file.read_bytes()
    for name in ("again.pth", "inception.safetensors"):
        same = make_extractor(INCEPTION, cpu, tmp_path / name)
        assert same.digest == digest
        assert all(torch.equal(value, inception_state[name]) for name, value in same._network.state_dict().items())
    assert len(digest) == 16
    state = {"a": torch.zeros(2, 3), "b": torch.tensor(1)}
    changes = ({"a": torch.zeros(3, 2)}, {"a": torch.zeros(2, 3).int()}, {"b": torch.tensor(2)}, {"c": torch.zeros(0)})
    assert len({state_digest(state | change) for change in ({}, *changes)}) == 5


def test_inception_takes_grey_images_as_if_they_had_colours(inception_file, cpu):
    extractor = make_extractor(INCEPTION, cpu, inception_file)
    grey = pictures(2)[:, :1]
    assert torch.equal(extractor(grey), extractor(grey.repeat(1, 3, 1, 1)))


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_weights_that_would_run_code_are_refused(tmp_path, cpu):
    weights, trace = tmp_path / "weights.pth", tmp_path / "executed"
    for write in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        write({"fc.bias": Malice(trace)}, weights)
        with pytest.raises(BadInputError, match=r"--inception-weights .*weights.pth: not the weights") as raised:
            make_extractor(INCEPTION, cpu, weights)
        assert "\n" not in str(raised.value)
        assert not trace.exists()


def test_other_files_are_refused(inception_state, tmp_path, cpu):
    path = tmp_path / "weights.pth"
    with pytest.raises(BadInputError, match=r"cannot be read .No such file"):
        make_extractor(INCEPTION, cpu, path)
    for value in ([torch.zeros(2)], {"fc.bias": "text"}, {"fc.bias": torch.zeros(1008)}):
        torch.save(value, path)
        with pytest.raises(BadInputError, match="not the weights of torch-fidelity's Inception") as raised:
            make_extractor(INCEPTION, cpu, path)
        assert "\n" not in str(raised.value)
    torch.save(inception_state, path)
    whole = path.read_bytes()
    for content, name in ((whole[:1000], "weights.pth"), (b"<html>", "weights.pth"), (b"{}", "weights.safetensors")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInputError, match="not a state dict of tensors"):
            make_extractor(INCEPTION, cpu, tmp_path / name)


def test_downloaded_weights_come_from_torchs_cache(inception_file, tmp_path, cpu, monkeypatch, capsys):
    asked = []

    def unreachable(url, path, hash_prefix, progress):
        asked.append((url, Path(path).name, hash_prefix))
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: tmp_path)
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(BadInputError, match=r"no route to host.*--inception-weights FILE"):
        make_extractor(INCEPTION, cpu)
    name = "weights-inception-2015-12-05-6726825d.pth"
    assert asked == [(inceptionv3.URL_INCEPTION_V3, name, "6726825d")]
    (tmp_path / "checkpoints" / name).symlink_to(inception_file)
    assert make_extractor(INCEPTION, cpu).digest == make_extractor(INCEPTION, cpu, inception_file).digest
    assert len(asked) == 1


# A suite whose images are not in the repository


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_digest": ""}, "has no reference statistics: run bench/reference.py"),
        ({"reference_digest": "0" * 64}, "no reference statistics at .*: run bench/reference.py"),
        ({"extractor_digest": "0" * 16}, "features have digest 0123456789ab, .*: run bench/reference.py"),
    ],
)
def test_statistics_that_are_not_the_protocols_are_refused(latent_cell, tmp_path, change, message):
    protocol: Protocol = replace(latent_cell.protocol, **change)
    with pytest.raises(BadInputError, match=message):
        reference_of(protocol, tmp_path, "pictures")


def test_a_file_of_other_statistics_is_refused(latent_cell, tmp_path):
    """Of the same images and features, but of other crops."""
    ours = latent_cell.protocol.reference_digest
    (path,) = (tmp_path / "pictures").iterdir()
    larger = replace(read_identity(path)[0], image_size=48)
    path.rename(statistics_path(path.parent, larger.identity))
    protocol = replace(latent_cell.protocol, reference_digest=larger.identity)
    message = f"statistics have digest {ours[:12]}, the results need {larger.identity[:12]}: run bench/reference.py"
    with pytest.raises(BadInputError, match=message):
        reference_of(protocol, tmp_path, "pictures")


def test_other_weights_than_the_references_are_refused(latent_cell, toy):
    toy.digest = "fedcba9876543210"
    with pytest.raises(BadInputError, match="the weights of inception-v3-compat: features have digest fedcba987654"):
        check_extractor(toy, latent_cell.protocol)


def test_damaged_statistics_are_refused(latent_cell, tmp_path):
    path = statistics_path(tmp_path / "pictures", latent_cell.protocol.reference_digest)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInputError, match=r"is damaged .*: delete it and run bench/reference.py again"):
        reference_of(latent_cell.protocol, tmp_path, "pictures")
