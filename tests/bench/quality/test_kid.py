"""The kernel distance is torch-fidelity's."""

import pytest
import torch
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from bench.quality.kid import KernelDistance


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(("count", "size"), [(40, 30), (60, 2), (25, 25)])
def test_equals_torch_fidelity(count, size, dense, monkeypatch):
    """From one kernel matrix of all images, and from the kernels of each pair of subsets."""
    if dense:
        monkeypatch.setattr(KernelDistance, "_one_by_one", None)
    else:
        monkeypatch.setattr(KernelDistance, "_from_all", KernelDistance._one_by_one)
    generator = torch.Generator().manual_seed(count)
    features = 1.5 * torch.rand(count, 16, generator=generator, dtype=torch.float64)
    reference = torch.rand(50, 16, generator=generator, dtype=torch.float64)
    mean, deviation = KernelDistance(reference).measure(features, 7, size)
    theirs = kid_features_to_metric(features, reference, kid_subsets=7, kid_subset_size=size, verbose=False)
    assert mean == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-9)
    assert deviation == pytest.approx(theirs[KEY_METRIC_KID_STD], rel=1e-9)
    assert mean > 0.01


@pytest.mark.parametrize("size", [1, 11])
def test_subsets_that_cannot_be(size):
    distance = KernelDistance(torch.rand(50, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="2 to 10 images"):
        distance.measure(torch.rand(10, 4, dtype=torch.float64), 3, size)


def test_kernels_of_all_images_only_where_they_are_few(monkeypatch):
    """Those of 50,000 images and 10,000 references would take 28 GB; the subsets' are 2% of them."""
    ways = []
    for way in ("_from_all", "_one_by_one"):
        monkeypatch.setattr(KernelDistance, way, lambda *a, way=way: ways.append(way) or torch.zeros(3))
    for count, reference, subsets, size in ((750, 1797, 50, 500), (6000, 5000, 100, 1000), (5000, 5000, 100, 1000)):
        KernelDistance(torch.zeros(reference, 1)).measure(torch.zeros(count, 1), subsets, size)
    KernelDistance(torch.zeros(10_000, 1)).measure(torch.zeros(50_000, 1), 100, 1000)
    assert ways == ["_from_all", "_from_all", "_from_all", "_one_by_one"]
