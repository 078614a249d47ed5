"""Metrics: equal to torch-fidelity's, sensitive to damage, and open to new registrations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from torch_fidelity import FeatureExtractorBase, calculate_metrics, register_feature_extractor
from torch_fidelity.metric_prc import prc_features_to_metric

from bench.data.pixels import load_dataset
from bench.quality.classifier import load_classifier, weights_path
from bench.quality.extractor import make_extractor
from bench.quality.features import FEATURE_BATCH
from bench.quality.meter import QualityMeter
from bench.quality.precision_recall import PrecisionRecall
from bench.quality.reference_statistics import ReferenceStatistics
from bench.spec.extractors import EXTRACTORS
from bench.spec.metrics import METRICS, Metric, register
from bench.system.errors import BadInputError


class RegisteredClassifier(FeatureExtractorBase):
    """The shipped classifier behind torch-fidelity's interface."""

    def __init__(self, name, features_list, **options):
        super().__init__(name, features_list)
        self.classifier = load_classifier(weights_path("digits-cnn"))

    @staticmethod
    def get_provided_features_list():
        return ("features",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "features"

    @staticmethod
    def can_be_compiled():
        return False

    @staticmethod
    def get_dummy_input_for_compile():
        return torch.zeros((1, 1, 8, 8), dtype=torch.uint8)

    def forward(self, images):
        return self.classifier(images)[:1]


def digits_meter(reference, device):
    extractor = make_extractor("digits-cnn", device)
    return QualityMeter(ReferenceStatistics.from_images(reference, extractor), extractor)


class Images(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quality_equals_torch_fidelity_called_as_a_whole(cpu):
    register_feature_extractor("digits-cnn-as-registered", RegisteredClassifier)
    images = load_dataset("digits").images
    generated, reference = images[:600], images[600:]
    quality = digits_meter(reference, cpu).measure(generated, 5, 200)
    whole = calculate_metrics(
        input1=Images(generated),
        input2=Images(reference),
        feature_extractor="digits-cnn-as-registered",
        fid=True,
        kid=True,
        kid_subsets=5,
        kid_subset_size=200,
        batch_size=FEATURE_BATCH,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    assert quality["fid"] == pytest.approx(whole["frechet_inception_distance"], rel=1e-4)
    assert quality["kid"] == pytest.approx(whole["kernel_inception_distance_mean"], rel=1e-3, abs=1e-6)


def test_distances_of_parts_are_means_over_them(cpu):
    images = load_dataset("digits").images
    meter = digits_meter(images[1::2], cpu)
    some = images[::2][:643]  # three are left over
    quality = meter.measure(some, 5, 200)
    for name, size in (("fid_half", 321), ("fid_quarter", 160)):
        each = [meter.measure(part, 5, 200)["fid"] for part in some.split(size) if len(part) == size]
        assert len(each) == 643 // size
        assert quality[name] == pytest.approx(np.mean(each), rel=1e-4)
    assert quality["fid"] < quality["fid_half"] < quality["fid_quarter"]


def test_the_limit_of_the_distance_has_no_bias_of_the_number_of_images(cpu):
    """Samples of the reference's own distribution are at distance 0; of one with another mean at 0.5 squared."""
    generator = torch.Generator().manual_seed(0)
    real, same = torch.randn(50_000, 20, generator=generator), torch.randn(2000, 20, generator=generator)
    meter = QualityMeter(
        ReferenceStatistics(50_000, 8, np.zeros(20), np.eye(20), real[:500]), make_extractor("digits-cnn", cpu)
    )
    at_home = meter.compare(same, 5, 200)
    assert at_home["fid"] > 0.05
    assert abs(at_home["fid_limit"]) < 0.15 * at_home["fid"]
    away = meter.compare(same + torch.eye(20)[0] / 2, 5, 200)
    assert away["fid_limit"] == pytest.approx(0.25, abs=0.05)


def test_few_images_have_no_parts(cpu):
    images = load_dataset("digits").images
    meter = digits_meter(images, cpu)
    assert {"fid", "fid_half"} < meter.measure(images[:6], 2, 4).keys()
    assert not {"fid_quarter", "fid_limit"} & meter.measure(images[:6], 2, 4).keys()


@pytest.mark.parametrize("corruption", ["noise", "blur", "contrast", "missing classes"])
def test_distance_grows_with_the_damage(corruption, cpu):
    data = load_dataset("digits")
    meter = digits_meter(data.images[1::2], cpu)
    images, labels = data.images[::2].float(), data.labels[::2]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    levels = {
        "noise": [images + sigma * noise for sigma in (0, 16, 32, 64, 128)],
        "blur": [images.lerp(blurred, weight) for weight in (0, 0.1, 0.2, 0.4, 0.8)],
        "contrast": [images * factor for factor in (1, 0.9, 0.8, 0.6)],
        "missing classes": [images[keep] for keep in (labels < 10, labels < 9, labels < 7, labels < 4)],
    }[corruption]
    distances = [meter.measure(level.round().clamp(0, 255).to(torch.uint8), 5, 200)["fid"] for level in levels]
    assert distances == sorted(distances)
    assert distances[0] < 0.1 * distances[-1]


def test_precision_and_recall_are_torch_fidelitys(cpu):
    """Of equally many images on both sides, and with real ones that are twice as many (every other one counts)."""
    features = make_extractor("digits-cnn", cpu)(load_dataset("digits").images)
    generated, real = features[:450] + 0.1 * torch.randn(450, 64, generator=torch.Generator().manual_seed(0)), features
    options = {"prc_neighborhood": 3, "prc_batch_size": 200, "save_cpu_ram": False, "verbose": False}
    for many, few in ((real[450:900], real[450:900]), (real[450:1350], real[450:1350:2])):
        whole = prc_features_to_metric(generated, few, **options)
        assert all(0.1 < whole[name] < 0.95 for name in ("precision", "recall"))
        found = PrecisionRecall(many).measure(generated)
        assert found == pytest.approx((whole["precision"], whole["recall"]), abs=1e-6)
    assert PrecisionRecall(real).measure(real) == (1, 1)


def test_of_more_samples_than_are_compared_no_class_is_left_out(cpu, monkeypatch):
    """Labels of samples go round: every n-th would be of some classes only."""
    data, extractor = load_dataset("digits"), make_extractor("digits-cnn", cpu)
    monkeypatch.setattr("bench.quality.precision_recall.KEPT_FEATURES", 136)
    real, generated = extractor(data.images), extractor(data.balanced(1360))
    assert PrecisionRecall(real).measure(generated[::10])[1] < 0.25  # zeros alone
    assert PrecisionRecall(real).measure(generated)[1] > 0.6


def test_missing_classes_cost_recall_and_noise_costs_precision(cpu):
    data = load_dataset("digits")
    meter = digits_meter(data.images[1::2], cpu)
    images, labels = data.images[::2], data.labels[::2]
    noise = 64 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    whole, part, noisy = (
        meter.measure(some, 5, 200)
        for some in (images, images[labels < 5], (images + noise).round().clamp(0, 255).to(torch.uint8))
    )
    assert part["recall"] < 0.7 * whole["recall"]
    assert part["precision"] > 0.9 * whole["precision"]
    assert noisy["precision"] < 0.7 * whole["precision"]


def test_features_of_the_reference_have_unit_mean_square(cpu):
    """The kernel distance depends on their scale."""
    features = make_extractor("digits-cnn", cpu)(load_dataset("digits").images)
    assert features.square().mean().sqrt() == pytest.approx(1, abs=0.02)


def mean_feature(comparison):
    return comparison.features.mean().item() - comparison.reference.features.mean().item()


def test_one_registration_adds_a_metric(cpu):
    images = load_dataset("digits").images
    meter = digits_meter(images[::2], cpu)
    before = meter.measure(images[1::2], 5, 200)
    parts = ["fid_quarter", "fid_half", "fid_limit"]
    assert list(before) == ["fid", *parts, "kid", "kid_subset_std", "precision", "recall"]
    register(Metric("toy", "toy", None, f"{__name__}:mean_feature"))
    try:
        after = meter.measure(images[1::2], 5, 200)
        with pytest.raises(ValueError, match="metric 'toy' is registered twice"):
            register(METRICS["toy"])
    finally:
        del METRICS["toy"]
    assert 0 < abs(after.pop("toy")) < 0.1
    assert after == before


def test_labels_and_directions_of_metrics():
    assert {name: (metric.label, metric.lower_is_better) for name, metric in METRICS.items()} == {
        "fid": ("FD", True),
        "fid_quarter": ("FD at n/4", None),
        "fid_half": ("FD at n/2", None),
        "fid_limit": ("FD, limit in 1/n", True),
        "kid": ("KID", True),
        "kid_subset_std": ("KID subset std", None),
        "precision": ("precision", False),
        "recall": ("recall", False),
    }


def test_weights_of_another_digest_are_refused(cpu, monkeypatch):
    monkeypatch.setitem(EXTRACTORS, "digits-cnn", replace(EXTRACTORS["digits-cnn"], digest="0" * 16))
    message = r"extractor weights .*digits-cnn.safetensors have digest 61f49f2317c3d963, .* registers 0{16}: restore"
    with pytest.raises(BadInputError, match=message) as raised:
        make_extractor("digits-cnn", cpu)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"weights"), lambda path: None])
def test_damaged_or_missing_weights_are_refused(damage, cpu, tmp_path, monkeypatch):
    damage(tmp_path / "digits-cnn.safetensors")
    monkeypatch.setattr("bench.quality.classifier.weights_path", lambda name: tmp_path / f"{name}.safetensors")
    with pytest.raises(BadInputError, match=r"digits-cnn.safetensors cannot be read .*: restore the file") as raised:
        make_extractor("digits-cnn", cpu)
    assert "\n" not in str(raised.value)


def test_unknown_extractors_are_refused(cpu):
    with pytest.raises(BadInputError, match="unknown feature extractor 'cnn': choose one of digits-cnn, fashion-cnn"):
        make_extractor("cnn", cpu)
