"""A user's own images, for `--suite folder`: options, checks, and what identifies the images."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bench.spec.arguments import Places, Running, Training, What
from bench.spec.contenders import Suite
from bench.spec.datasets import OWN, HeldOut, OwnImages, get_dataset
from bench.spec.extractors import EXTRACTORS, INCEPTION, PIXELS, get_extractor
from bench.spec.selection import Selection, protocol
from bench.spec.suites import get_suite
from bench.store.own_images import check_same, read_own
from bench.system.errors import BadInputError

if TYPE_CHECKING:
    from bench.data.own import OwnData

USUAL_SIZE, LARGEST_SIZE = 32, 128  # pixels a side
FEWEST = 10  # images; fewer give no distance
FROM_FOLDERS, NONE = "from-folders", "none"  # values of --classes


@dataclass(frozen=True)
class Own:
    """Your own images (--suite folder --data DIR)."""

    image_size: int | None = None
    """Pixels a side, to which images are resized and cropped: 8, or a multiple of 16 up to 128. Default: 32."""
    extractor: Annotated[
        str | None,
        tyro.conf.arg(
            help=f"Features that judge samples: {', '.join(EXTRACTORS)}; pixels are a weak judge. Default: Inception "
            "with --inception-weights, else pixels."
        ),
    ] = None
    twins: Literal["cpu", "gpu"] | None = None
    """Networks of a size for a CPU or for a GPU. Default: for this machine's --device."""


def opened(options: Own, what: What, training: Training, running: Running, places: Places) -> OwnImages | None:
    """The images of `--suite folder`: those of `--data`, or without it those that the results are of.

    None for another suite, and if there are none. Loads torch only to read images.

    Raises:
        BadInputError: an option does not fit the suite or the images, an image cannot be read, or the results are of
            other images.
    """
    if what.suite != OWN:
        _refuse(options, what, places)
        return None
    known = read_own(places.results)
    if places.data is None:
        if given := [*_given(options), *(["--held-out"] if places.held_out else [])]:
            raise BadInputError(f"{given[0]}: give --data DIR as well")
        return known
    own = _identify(options, training, running, places, known)
    check_same(places.results, known, own)
    return own


def describe(own: OwnImages) -> str:
    """The images and their judge in one line."""
    classes = f"{len(own.classes)} classes" if own.classes else "no classes"
    size = f"{own.image_size}x{own.image_size} pixels, {'grey' if own.channels == 1 else 'colour'}"
    features = get_extractor(own.extractor).label
    return (
        f"{own.count:,} images of {size}, {classes}, digest {own.digest[:12]}; {features} features; "
        f"twins for a {own.twins.upper()}"
    )


def check_floor(suite: Suite, selection: Selection, places: Places) -> None:
    """BadInputError if the held-out images that are given are fewer than a cell has samples."""
    samples, held_out = protocol(suite, selection).samples, suite.own and suite.own.held_out
    if places.held_out and held_out and held_out.count < samples:
        raise BadInputError(
            f"--held-out {places.held_out}: {held_out.count:,} images with equally many of each class, the floor needs "
            f"{samples:,}, as many as a cell has samples; give more, or --samples {held_out.count}"
        )


def _given(options: Own) -> list[str]:
    return [f"--{one.name.replace('_', '-')}" for one in fields(options) if getattr(options, one.name) is not None]


def _refuse(options: Own, what: What, places: Places) -> None:
    """BadInputError if there are options for images of the user, and the suite takes none."""
    dataset = get_dataset(get_suite(what.suite).dataset)
    if given := [*_given(options), *(["--held-out"] if places.held_out else [])]:
        raise BadInputError(f"{given[0]} --suite {what.suite}: it is for --suite {OWN}; leave it out")
    if places.data is not None and not dataset.takes:
        why = "its networks see latents, in --prepared" if dataset.is_latent else "its images come with a package"
        raise BadInputError(
            f"--data {places.data} --suite {what.suite}: the suite reads no files there, {why}; leave it out, or use "
            f"your own images with --suite {OWN}"
        )


def _identify(options: Own, training: Training, running: Running, places: Places, known: OwnImages | None) -> OwnImages:
    from bench.data.own import read
    from bench.data.pixels import ImageData
    from bench.machine.devices import pick_device

    assert places.data is not None
    size = (known.image_size if known else USUAL_SIZE) if options.image_size is None else options.image_size
    if size != 8 and (size % 16 or not 0 < size <= LARGEST_SIZE):
        raise BadInputError(f"--image-size {size}: choose 8, or a multiple of 16 up to {LARGEST_SIZE}")
    kept = FROM_FOLDERS if known and known.classes else NONE
    if (classes := training.classes or kept) not in (FROM_FOLDERS, NONE):
        raise BadInputError(f"--classes {classes} --suite {OWN}: choose {FROM_FOLDERS} or {NONE}")
    data = read(places.data, size, classes == FROM_FOLDERS)
    if len(data.images) < FEWEST:
        raise BadInputError(f"--data {places.data}: {len(data.images)} images; give {FEWEST} or more")
    channels = data.images.shape[1]
    extractor = {"inception": INCEPTION}.get(options.extractor or "", options.extractor)
    extractor = extractor or (known.extractor if known else INCEPTION if places.inception_weights else PIXELS)
    return OwnImages(
        count=len(data.images),
        image_size=size,
        channels=channels,
        classes=data.classes,
        digest=ImageData(data.images, data.labels).digest,
        extractor=extractor,
        extractor_digest=_extractor_digest(extractor, (channels, size), places),
        twins=options.twins
        or (known.twins if known else "gpu" if pick_device(running.device).type == "cuda" else "cpu"),
        held_out=_held_out(places.held_out, data) if places.held_out else known.held_out if known else None,
    )


def _extractor_digest(name: str, shape: tuple[int, int], places: Places) -> str:
    """Digest of an extractor's weights. BadInputError if it does not take such images, or lacks its weights."""
    extractor = get_extractor(name)
    if extractor.shape not in (None, shape):
        wanted, found = (
            f"{'grey' if channels == 1 else 'colour'} images of {size} pixels"
            for channels, size in (extractor.shape or shape, shape)
        )
        raise BadInputError(f"--extractor {name}: it takes {wanted}, these are {found}; choose {PIXELS} or inception")
    if extractor.digest:
        return extractor.digest
    import torch

    from bench.quality.extractor import make_extractor

    return make_extractor(name, torch.device("cpu"), places.inception_weights).digest


def _held_out(path: Path, data: "OwnData") -> HeldOut:
    """What identifies the held-out images. BadInputError if they do not fit the images, or are among them."""
    from bench.data.own import in_channels, read
    from bench.data.pixels import ImageData

    other = read(path, data.images.shape[-1], bool(data.classes))
    if other.classes != data.classes:
        raise BadInputError(f"--held-out {path}: its folders are {', '.join(other.classes)}; name them as in --data")
    channels = data.images.shape[1]
    if other.images.shape[1] > channels:
        raise BadInputError(f"--held-out {path}: its images have colours, those of --data are grey")
    images = in_channels(other.images, channels)
    seen = {image.numpy().tobytes() for image in data.images}
    if both := sum(image.numpy().tobytes() in seen for image in images):
        raise BadInputError(f"--held-out {path}: {both} of its {len(images)} images are among those of --data")
    each = other.labels.bincount(minlength=max(1, len(data.classes)))
    return HeldOut(ImageData(images, other.labels).digest, int(each.min()) * len(each))
