"""DINOv2's features: those of its own code, of any batches, beside Inception's; weights are read safely."""

from pathlib import Path

import pytest
import torch
from made_images import dinov2_state, make_dinov2, pictures
from pretend_gpu import CUDA
from safetensors.torch import load_file, save_file
from torch_fidelity.metric_fid import fid_statistics_to_metric

from bench.quality.extractor import make_second
from bench.quality.features import FeatureStream
from bench.quality.meter import QualityMeter, SecondJudge
from bench.quality.reference_statistics import ReferenceStatistics
from bench.spec.extractors import DINOV2
from bench.system.errors import BadInputError

GOLDEN = Path(__file__).parents[2] / "goldens" / "dinov2.safetensors"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return make_dinov2(tmp_path_factory.mktemp("weights") / "dinov2.pth")


@pytest.fixture(scope="module")
def dinov2(file):
    return make_second(DINOV2, CPU, file)


def test_features_are_those_of_dinov2s_own_code(dinov2):
    """The golden tensor was made with its network, in the extractor of torch-fidelity that runs it."""
    features = dinov2(pictures(2))
    golden = load_file(GOLDEN)["features"]
    assert golden.shape == (2, 384)
    assert (golden[0] - golden[1]).abs().mean() > 0.01
    torch.testing.assert_close(features, golden, rtol=0, atol=2e-4)


def test_the_weights_say_which_network_it_is(dinov2):
    assert (dinov2.name, dinov2.dimensions, len(dinov2.digest)) == ("dinov2-vit-s-14", 384, 16)


def test_the_digest_is_of_the_tensors_that_are_used_in_any_file(dinov2, tmp_path):
    """A mask token is for training only; files of timm do not have it."""
    state = dinov2_state()
    del state["mask_token"]
    save_file(state, tmp_path / "timm.safetensors")
    same = make_second(DINOV2, CPU, tmp_path / "timm.safetensors")
    assert same.digest == dinov2.digest
    assert torch.equal(same(pictures(1)), dinov2(pictures(1)))
    make_dinov2(tmp_path / "other.pth", seed=1)
    assert make_second(DINOV2, CPU, tmp_path / "other.pth").digest != dinov2.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"fc.bias": torch.zeros(1008)}, r"pos_embed of shape \[0\]"),
        (lambda state: state | {"pos_embed": torch.zeros(1, 257, 384)}, r"pos_embed of shape \[1, 257, 384\]"),
        (lambda state: state | {"pos_embed": torch.zeros(1, 1370, 192)}, r"pos_embed of shape \[1, 1370, 192\]"),
        (lambda state: state, "Missing key"),
        (lambda state: state | {"register_tokens": torch.zeros(1, 4, 384)}, "it has registers"),
        (lambda state: {"pos_embed": "text"}, "not a state dict of tensors"),
    ],
    ids=["other weights", "another grid", "another width", "fewer blocks", "registers", "no tensors"],
)
def test_other_weights_are_refused(change, message, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(change(dinov2_state(depth=1)), path)
    with pytest.raises(
        BadInputError, match=rf"--dinov2-weights .*weights.pth: not the weights of DINOv2.*{message}"
    ) as raised:
        make_second(DINOV2, CPU, path)
    assert "\n" not in str(raised.value)


def test_weights_are_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "load", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(BadInputError, match="give them by --dinov2-weights FILE"):
        make_second(DINOV2, CPU, None)
    with pytest.raises(BadInputError, match=r"--dinov2-weights .*nowhere.pth: cannot be read \(No such file"):
        make_second(DINOV2, CPU, tmp_path / "nowhere.pth")


def test_features_on_a_gpu_that_is_not_there(file, gpu, monkeypatch):
    """Without torchvision's normalisation, which asks the GPU for a number."""
    monkeypatch.setattr("torchvision.transforms.functional.normalize", lambda images, *_, **__: images)
    features = FeatureStream(make_second(DINOV2, CUDA, file)).add(torch.zeros(100, 3, 24, 24, dtype=torch.uint8))
    assert [(part.shape, part.dtype, part.device.type) for part in features] == [((100, 384), torch.float32, "cpu")]
    assert gpu.seen["addmm"] | gpu.seen["mm"] == {torch.float32}


# Beside another extractor


def test_it_adds_one_distance_of_images_in_any_batches_and_changes_no_other_metric(toy, dinov2, monkeypatch):
    monkeypatch.setattr("bench.quality.features.FEATURE_BATCH", 2)
    real, images = pictures(3), pictures(3, seed=1)
    own, reference = (ReferenceStatistics.from_images(real, extractor) for extractor in (toy, dinov2))
    meter = QualityMeter(own, toy, SecondJudge(DINOV2, reference, dinov2))
    quality = meter.measure(images, 3, 2)
    measurement = meter.start()
    for image in images.split(1):
        measurement.add(image)
    assert measurement.finish(3, 2) == quality
    distance = quality.pop("fd_dinov2")
    assert quality == QualityMeter(own, toy).measure(images, 3, 2)
    generated = ReferenceStatistics.from_images(images, dinov2)
    sides = [{"mu": side.mu, "sigma": side.sigma} for side in (generated, reference)]
    assert distance == fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]
    assert distance > 0.1
