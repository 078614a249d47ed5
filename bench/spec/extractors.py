"""Registry of feature extractors: their names, weights' digests, and the functions that load them. Plain data."""

from dataclasses import dataclass

from bench.system.errors import BadInputError

INCEPTION = "inception-v3-compat"  # torch-fidelity's, the usual extractor of 256-pixel images
DINOV2 = "dinov2"  # torch-fidelity's, of any size that it has: a second extractor of 256-pixel images
PIXELS = "pixels"  # principal components of the reference images' pixels: for any images, and weak


@dataclass(frozen=True)
class FeatureExtractor:
    """A network whose features Frechet distance, KID, precision and recall are computed from.

    Attributes:
        name: what suites and records call it.
        loads: "module:function" that takes this registration, a device, the weights file that the user names (or
            None) and the reference images (or None), and returns a `bench.quality.extractor.Extractor`.
        digest: first 16 hex digits of the SHA-256 of the weights' file, if the repository ships it. It is part of the
            identity of every cell of a pixel dataset.
        described: in captions, if the name does not say enough.
        shape: channels and pixels a side of the images that it takes; None if it takes all.
    """

    name: str
    loads: str
    digest: str = ""
    described: str = ""
    shape: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """Its name in captions and on axes."""
        return self.described or self.name


EXTRACTORS: dict[str, FeatureExtractor] = {}
# Extractors beside a suite's own, which judge by one metric (`bench.spec.metrics.SECOND_METRICS`). They are loaded as
# the others are; the name of the extractor that is loaded says which network the weights are of.
SECOND_EXTRACTORS = {DINOV2: FeatureExtractor(DINOV2, "bench.quality.dinov2:load_dinov2", described="DINOv2")}


def register(extractor: FeatureExtractor) -> None:
    """Add an extractor. ValueError if its name is taken."""
    if extractor.name in EXTRACTORS:
        raise ValueError(f"feature extractor {extractor.name!r} is registered twice")
    EXTRACTORS[extractor.name] = extractor


def get_extractor(name: str) -> FeatureExtractor:
    """The extractor called `name`. BadInputError if there is none."""
    if name not in EXTRACTORS:
        raise BadInputError(f"unknown feature extractor {name!r}: choose one of {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name]


register(
    FeatureExtractor("digits-cnn", "bench.quality.classifier:load_shipped", digest="61f49f2317c3d963", shape=(1, 8))
)
register(
    FeatureExtractor("fashion-cnn", "bench.quality.classifier:load_shipped", digest="d76772649ca57811", shape=(1, 32))
)
register(FeatureExtractor(INCEPTION, "bench.quality.inception:load_inception"))
register(FeatureExtractor(PIXELS, "bench.quality.components:load_pixels", "pca-64-of-2000-at-32", "weak pixel-PCA"))
