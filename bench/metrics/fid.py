"""Quality against reference images: Frechet distance (FID) by torch-fidelity, and kernel distance (KID).

The features are a suite's own; "FID" with features other than Inception's is called Frechet distance (FD) in tables.
Both are biased or noisy at few samples: compare equal sample counts only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.utils import create_feature_extractor

from bench.metrics.extractor import registered_name
from bench.metrics.kid import KernelDistance

FEATURE_BATCH = 100  # features change in the last bits with the batch size, so it is one for all


@dataclass(frozen=True)
class Quality:
    """Frechet distance; kernel distance, mean over subsets and spread over subsets (which is not a standard error)."""

    fid: float
    kid: float
    kid_subset_std: float


class QualityMeter:
    """Measures generated images against one reference; its features are computed once.

    Args:
        reference: uint8 (count, channels, size, size).
        extractor: name of a shipped extractor.
        device: where features are computed.
    """

    def __init__(self, reference: Tensor, extractor: str, device: torch.device) -> None:
        self._device = device
        name = registered_name(extractor)
        self._extractor = create_feature_extractor(name, ["features"], cuda=device.type == "cuda", verbose=False)
        self._count = len(reference)
        features = self.features(reference)
        self._statistics = fid_features_to_statistics(features)
        self._kernel_distance = KernelDistance(features)

    def features(self, images: Tensor) -> Tensor:
        """uint8 (count, channels, size, size) -> (count, features), float64 on the CPU."""
        with torch.inference_mode():
            parts = [self._extractor(part.to(self._device))[0].cpu() for part in images.split(FEATURE_BATCH)]
        return torch.cat(parts).double()

    def measure(self, images: Tensor, kid_subsets: int, kid_subset_size: int) -> Quality:
        """Distances of images, uint8 (count, channels, size, size), from the reference."""
        features = self.features(images)
        statistics = fid_features_to_statistics(features)
        fid = fid_statistics_to_metric(statistics, self._statistics, verbose=False)
        size = min(kid_subset_size, len(images), self._count)
        return Quality(fid[KEY_METRIC_FID], *self._kernel_distance.measure(features, kid_subsets, size))
