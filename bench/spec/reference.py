"""Identity of reference statistics, with which samples of a latent suite are compared.

Pixel suites name their reference by the dataset's digest (`bench.spec.datasets`). For latent suites
`bench/reference.py` makes it from the user's own copy of the dataset; its identity is part of every quality cell's.
"""

from dataclasses import dataclass
from typing import Any

from bench.spec.cells import Second, spec_hash


@dataclass(frozen=True)
class Reference:
    """Identity of reference statistics.

    Attributes:
        dataset: the dataset of the images.
        images: number of images.
        image_size: size of the centre crops, pixels.
        digest: SHA-256 over labels and images as shipped (`bench.data.images.dataset_digest`).
        extractor: name of the feature extractor.
        extractor_digest: first 16 hex digits of the SHA-256 of its weights.
    """

    dataset: str
    images: int
    image_size: int
    digest: str
    extractor: str
    extractor_digest: str

    def spec(self) -> dict[str, Any]:
        """Content of its file, which is hashed; names are frozen."""
        return {
            "dataset": self.dataset,
            "images": self.images,
            "image_size": self.image_size,
            "digest": self.digest,
            "extractor": self.extractor,
            "extractor_digest": self.extractor_digest,
        }

    @property
    def identity(self) -> str:
        """SHA-256, in hex: the name of the statistics in protocols and in their file's name."""
        return spec_hash(self.spec(), 64)

    def of_second(self, name: str) -> Second:
        """The reference as a protocol has it, of the second extractor of that name."""
        return Second(name, self.extractor, self.extractor_digest, self.identity)
