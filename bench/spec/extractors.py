"""Registry of feature extractors: their names, weights' digests, and the functions that load them. Plain data."""

from dataclasses import dataclass

from bench.system.errors import BadInputError

INCEPTION = "inception-v3-compat"  # torch-fidelity's, the usual extractor of 256-pixel images


@dataclass(frozen=True)
class FeatureExtractor:
    """A network whose features Frechet distance, KID, precision and recall are computed from.

    Attributes:
        name: what suites and records call it.
        loads: "module:function" that takes this registration, a device and the weights file that the user names (or
            None), and returns a `bench.quality.extractor.Extractor`.
        digest: first 16 hex digits of the SHA-256 of the weights' file, if the repository ships it. It is part of the
            identity of every cell of a pixel dataset.
    """

    name: str
    loads: str
    digest: str = ""


EXTRACTORS: dict[str, FeatureExtractor] = {}


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


register(FeatureExtractor("digits-cnn", "bench.quality.classifier:load_shipped", digest="629376db9bbdbe14"))
register(FeatureExtractor("fashion-cnn", "bench.quality.classifier:load_shipped", digest="d76772649ca57811"))
register(FeatureExtractor(INCEPTION, "bench.quality.inception:load_inception"))
