"""Registry of datasets: their names, sizes and digests, and the functions that open them.

The registry is plain data. No file is read, and no function of `opens` is imported, before a dataset is opened.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.system.errors import BadInputError


@dataclass(frozen=True)
class HeldOut:
    """Test images, which no model is trained on.

    Attributes:
        digest: SHA-256 of images and labels as networks see them (`bench.data.pixels.ImageData.digest`).
        count: number of images.
    """

    digest: str
    count: int


@dataclass(frozen=True)
class Dataset:
    """A dataset of images.

    Attributes:
        name: what suites and commands call it.
        label: what tables call it.
        kind: "pixels" if networks see the images, which are held in memory; "latents" if networks see latents, which
            bench/encode_latents.py makes from the images.
        count: number of training images.
        opens: "module:function" that opens the images. For pixels the function takes a folder (None for the usual
            one) and a split ("train" or "test") and returns `bench.data.pixels.ImageData`. For latents it takes a path
            and returns a `bench.data.images.ImageSource`.
        digest: SHA-256 of training images and labels as networks see them, for pixels only. It is part of the
            identity of every cell.
        held_out: the test images, if there are any.
        takes: what `--data` names; empty if a package ships the images, or if networks see latents.
        arguments: further arguments of the function of `opens`.
    """

    name: str
    label: str
    kind: Literal["pixels", "latents"]
    count: int
    opens: str
    digest: str = ""
    held_out: HeldOut | None = None
    takes: str = ""
    arguments: tuple[Any, ...] = ()

    @property
    def is_latent(self) -> bool:
        """Whether networks see latents of the images."""
        return self.kind == "latents"


DATASETS: dict[str, Dataset] = {}


def register(dataset: Dataset) -> None:
    """Add a dataset. ValueError if its name is taken."""
    if dataset.name in DATASETS:
        raise ValueError(f"dataset {dataset.name!r} is registered twice")
    DATASETS[dataset.name] = dataset


def get_dataset(name: str) -> Dataset:
    """The dataset called `name`, which may be `OwnImages.dataset`. BadInputError if there is none."""
    if name.startswith(f"{OWN}:"):
        return _own(name)
    if name not in DATASETS:
        raise BadInputError(f"unknown dataset {name!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[name]


OWN = "folder"  # the suite of a user's own images, and the beginning of their dataset's name


@dataclass(frozen=True)
class OwnImages:
    """A user's own images and how samples are compared with them; kept with the results.

    Attributes:
        count: number of images.
        image_size, channels: of an image; 1 channel if all are grey, else 3.
        classes: names of the folders that are classes; empty without classes.
        digest: SHA-256 of images and labels as networks see them.
        extractor, extractor_digest: the feature extractor, and the digest of its weights.
        twins: networks for a "cpu" or a "gpu".
        held_out: images that nothing is trained on; `count` is how many of them can have balanced labels.
    """

    count: int
    image_size: int
    channels: int
    classes: tuple[str, ...]
    digest: str
    extractor: str
    extractor_digest: str
    twins: str
    held_out: HeldOut | None = None

    @property
    def dataset(self) -> str:
        """Name of the dataset. It says all that `get_dataset` needs, in any process."""
        return f"{OWN}:{self.image_size}:{self.channels}:{len(self.classes)}:{self.count}:{self.digest}"

    def spec(self) -> dict[str, Any]:
        """Content of its file."""
        return asdict(self)

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> "OwnImages":
        """The images that `spec` describes. TypeError or KeyError if it is no description."""
        held_out = spec["held_out"] and HeldOut(**spec["held_out"])
        return cls(**spec | {"classes": tuple(spec["classes"]), "held_out": held_out})


def _own(name: str) -> Dataset:
    _, size, channels, classes, count, digest = name.split(":")
    arguments = int(size), int(channels), int(classes) > 0
    takes = "a folder or zip file of images"
    return Dataset(name, "own images", "pixels", int(count), "bench.data.own:load", digest, None, takes, arguments)


_DIGITS = "09f6c15583d5dd525fca2ebb7e8819abf01c5956371107416e7d56c430748aff"
_DIGITS_TEST = HeldOut("a7c4a6eb75a13c65a6f4b78e326e56d80f53ed76bfbcf417a5c8787775cd03c8", 380)
_FASHION = "57a2b6bf4b8765263f60b3ec4eba35d846bfc658105661ce0e4bb3d5c7d190e5"
_FASHION_TEST = HeldOut("f24cf301b160abd47850a2434112a8d30edf9ad82607c27a849f98e1ea756a55", 10_000)

register(Dataset("digits", "digits", "pixels", 1417, "bench.data.digits:load", _DIGITS, _DIGITS_TEST))
register(
    Dataset(
        "fashion",
        "Fashion-MNIST",
        "pixels",
        60_000,
        "bench.data.fashion:load",
        _FASHION,
        _FASHION_TEST,
        takes="the folder of its four files",
    )
)
register(Dataset("imagenet", "ImageNet", "latents", 1_281_167, "bench.data.imagenet:ImageNet"))
register(Dataset("celebahq", "CelebA-HQ", "latents", 30_000, "bench.data.image_files:open_files"))
register(Dataset("ffhq", "FFHQ", "latents", 70_000, "bench.data.image_files:open_files"))
register(Dataset("church", "LSUN-Church", "latents", 126_227, "bench.data.church:Church"))
