"""What generated images are compared with: mean and covariance of reference features, and some of the features.

    <prepared>/<suite>/reference-<identity>.safetensors   mu, sigma, features; who they are of in its metadata

`bench/reference.py` makes the file. References in memory, those of shipped datasets, are made anew each time.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics

from bench.quality.extractor import Extractor
from bench.quality.features import FeatureStream
from bench.spec.cells import Protocol
from bench.store.references import Reference
from bench.system.errors import BadInputError
from bench.system.files import write_whole

KEPT_FEATURES = 10_000  # of a big dataset; KID draws its subsets from them


@dataclass(frozen=True)
class ReferenceStatistics:
    """Of a dataset's features.

    Attributes:
        count: images.
        image_size: of the images, pixels; generated ones must have the same.
        mu: (dimensions,) float64, mean.
        sigma: (dimensions, dimensions) float64, unbiased covariance.
        features: (kept, dimensions) float32: those of all images, or of `kept_indices`.
    """

    count: int
    image_size: int
    mu: np.ndarray
    sigma: np.ndarray
    features: Tensor

    @classmethod
    def from_images(cls, images: Tensor, extractor: Extractor) -> "ReferenceStatistics":
        """Of images in memory, uint8 (count, channels, size, size); all features are kept."""
        stream = FeatureStream(extractor)
        features = torch.cat(stream.add(images) + stream.finish())
        statistics = fid_features_to_statistics(features.double())
        return cls(len(images), images.shape[-1], statistics["mu"], statistics["sigma"], features)


def kept_indices(count: int, kept: int = KEPT_FEATURES) -> np.ndarray:
    """The images whose features are kept, evenly spaced: all of them where they are no more than `kept`."""
    kept = min(kept, count)
    return np.arange(kept) * count // kept


def statistics_path(prepared: Path, identity: str) -> Path:
    """Where the statistics of this identity are kept, in a suite's folder of what is prepared."""
    return prepared / f"reference-{identity[:12]}.safetensors"


def save_statistics(path: Path, statistics: ReferenceStatistics, reference: Reference, fingerprint: str) -> None:
    """Write statistics whole.

    Args:
        path: where to.
        statistics: what to keep.
        reference: their identity.
        fingerprint: of the dataset, by which it is known without reading it all.
    """
    tensors = {
        "mu": torch.from_numpy(statistics.mu),
        "sigma": torch.from_numpy(statistics.sigma),
        "features": statistics.features,
    }
    identity = {"reference": asdict(reference), "fingerprint": fingerprint}
    content = save(tensors, {"identity": json.dumps(identity)})  # in one piece: the order of pieces varies
    write_whole(path, lambda file: file.write(content))


def read_identity(path: Path) -> tuple[Reference, str]:
    """Whose statistics a file has, and the dataset's fingerprint. BadInputError if it is damaged."""
    try:
        with safe_open(path, "np") as file:
            identity = json.loads(file.metadata()["identity"])
        return Reference(**identity["reference"]), identity["fingerprint"]
    except Exception as error:
        raise _damaged(path, error) from error


def load_statistics(path: Path) -> tuple[ReferenceStatistics, Reference]:
    """Statistics and their identity. BadInputError if the file is missing or damaged."""
    if not path.exists():
        raise BadInputError(f"no reference statistics at {path}: make them by bench/reference.py, or name --prepared")
    reference, _ = read_identity(path)
    try:
        with safe_open(path, "pt") as file:
            mu, sigma, features = (file.get_tensor(name) for name in ("mu", "sigma", "features"))
        if sigma.shape != (len(mu), len(mu)) or features.shape[1:] != mu.shape:
            raise ValueError("shapes do not fit")
    except Exception as error:
        raise _damaged(path, error) from error
    return ReferenceStatistics(reference.images, reference.image_size, mu.numpy(), sigma.numpy(), features), reference


def reference_of(protocol: Protocol, prepared: Path, suite: str) -> ReferenceStatistics:
    """The statistics that a protocol names. BadInputError if they are not there."""
    if not protocol.reference_digest:
        raise BadInputError(
            f"suite {suite} has no reference statistics: make them by bench/reference.py --suite {suite}"
        )
    path = statistics_path(prepared / suite, protocol.reference_digest)
    statistics, reference = load_statistics(path)
    _check_digest(str(path), "statistics", reference.identity, protocol.reference_digest)
    _check_digest(str(path), "features", reference.extractor_digest, protocol.extractor_digest)
    return statistics


def check_extractor(extractor: Extractor, protocol: Protocol) -> None:
    """BadInputError unless the extractor is the one whose features the protocol's reference is of."""
    _check_digest(f"the weights of {extractor.name}", "features", extractor.digest, protocol.extractor_digest)


def _check_digest(where: str, what: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise BadInputError(
            f"{where}: {what} of digest {found[:12]}, the results are of {wanted[:12]}: run bench/reference.py"
        )


def _damaged(path: Path, error: Exception) -> BadInputError:
    return BadInputError(f"{path} is damaged ({error}): delete it and run bench/reference.py again")
