"""Reference statistics, which generated images are compared with: mean, covariance and some features of real images.

    <prepared>/<suite>/reference-<identity>.safetensors   mu, sigma, features; their identity in the metadata

bench/reference.py makes the file for latent suites. For pixel suites the statistics are computed in memory each time.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics

from bench.quality.extractor import Extractor
from bench.quality.features import FeatureStream
from bench.spec.cells import Protocol, Second
from bench.spec.reference import Reference
from bench.store.tensors import read_metadata, read_tensors
from bench.system.errors import BadInputError
from bench.system.files import write_bytes

KEPT_FEATURES = 10_000  # features kept of a large dataset, for KID, precision and recall


@dataclass(frozen=True)
class ReferenceStatistics:
    """Statistics of the features of a dataset.

    Attributes:
        count: number of images.
        image_size: of the images, pixels a side; generated images must have the same.
        mu: (dimensions,) float64, mean.
        sigma: (dimensions, dimensions) float64, unbiased covariance.
        features: (kept, dimensions) float32, of the images `kept_indices(count)`.
    """

    count: int
    image_size: int
    mu: np.ndarray
    sigma: np.ndarray
    features: Tensor

    @classmethod
    def from_images(cls, images: Tensor, extractor: Extractor) -> "ReferenceStatistics":
        """Statistics of images in memory, uint8 (count, channels, size, size). All features are kept."""
        stream = FeatureStream(extractor)
        features = torch.cat(stream.add(images) + stream.finish())
        statistics = fid_features_to_statistics(features.double())
        return cls(len(images), images.shape[-1], statistics["mu"], statistics["sigma"], features)


def kept_indices(count: int, kept: int = KEPT_FEATURES) -> np.ndarray:
    """Evenly spaced indices of the images whose features are kept: `kept` of them, or all if there are fewer."""
    kept = min(kept, count)
    return np.arange(kept) * count // kept


def statistics_path(prepared: Path, identity: str) -> Path:
    """The file of the statistics with this identity in a suite's folder of prepared files."""
    return prepared / f"reference-{identity[:12]}.safetensors"


def save_statistics(path: Path, statistics: ReferenceStatistics, reference: Reference, fingerprint: str) -> None:
    """Write statistics to a file.

    Args:
        path: the file.
        statistics: its tensors.
        reference: their identity.
        fingerprint: of the dataset (`bench.prepare.fingerprint`).
    """
    tensors = {
        "mu": torch.from_numpy(statistics.mu),
        "sigma": torch.from_numpy(statistics.sigma),
        "features": statistics.features,
    }
    identity = {"reference": asdict(reference), "fingerprint": fingerprint}
    content = save(tensors, {"identity": json.dumps(identity)})  # one value: several are written in random order
    write_bytes(path, content)


def read_identity(path: Path) -> tuple[Reference, str]:
    """The identity of a file's statistics, and the fingerprint of the dataset. BadInputError if it is damaged."""
    try:
        identity = json.loads(read_metadata(path)["identity"])
        return Reference(**identity["reference"]), identity["fingerprint"]
    except OSError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error


def load_statistics(path: Path) -> tuple[ReferenceStatistics, Reference]:
    """Statistics and their identity. BadInputError if the file is missing or damaged."""
    if not path.exists():
        raise BadInputError(f"no reference statistics at {path}: run bench/reference.py, or give --prepared")
    reference, _ = read_identity(path)
    try:
        tensors, _ = read_tensors(path)
        mu, sigma, features = (tensors[name] for name in ("mu", "sigma", "features"))
        if sigma.shape != (len(mu), len(mu)) or features.shape[1:] != mu.shape:
            raise ValueError("shapes of mu, sigma and features do not match")
    except OSError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    return ReferenceStatistics(reference.images, reference.image_size, mu.numpy(), sigma.numpy(), features), reference


def reference_of(protocol: Protocol | Second, prepared: Path, suite: str) -> ReferenceStatistics:
    """The statistics that a protocol, or its second extractor, names. BadInputError if they are missing."""
    if not protocol.reference_digest:
        raise BadInputError(f"suite {suite} has no reference statistics: run bench/reference.py --suite {suite}")
    path = statistics_path(prepared / suite, protocol.reference_digest)
    statistics, reference = load_statistics(path)
    _check_digest(str(path), "statistics", reference.identity, protocol.reference_digest)
    _check_digest(str(path), "features", reference.extractor_digest, protocol.extractor_digest)
    return statistics


def check_extractor(extractor: Extractor, protocol: Protocol | Second) -> None:
    """BadInputError unless the extractor has the weights that the reference was made with."""
    _check_digest(f"the weights of {extractor.name}", "features", extractor.digest, protocol.extractor_digest)


def _check_digest(where: str, what: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise BadInputError(
            f"{where}: {what} have digest {found[:12]}, the results need {wanted[:12]}: run bench/reference.py"
        )


def _damaged(path: Path, error: Exception) -> BadInputError:
    return BadInputError(f"{path} is damaged ({error}): delete it and run bench/reference.py again")
