"""The kernel distance is torch-fidelity's."""

import pytest
import torch
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from bench.metrics.kid import KernelDistance


@pytest.mark.parametrize(("count", "size"), [(40, 30), (60, 2), (25, 25)])
def test_equals_torch_fidelity(count, size):
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
