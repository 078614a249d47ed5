"""Registry of datasets: their names, sizes and digests, and the functions that open them.

The registry is plain data. No file is read, and no function of `opens` is imported, before a dataset is opened.
"""

from dataclasses import dataclass
from typing import Literal

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
    """

    name: str
    label: str
    kind: Literal["pixels", "latents"]
    count: int
    opens: str
    digest: str = ""
    held_out: HeldOut | None = None

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
    """The dataset called `name`. BadInputError if there is none."""
    if name not in DATASETS:
        raise BadInputError(f"unknown dataset {name!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[name]


_DIGITS = "0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382"
_FASHION = "57a2b6bf4b8765263f60b3ec4eba35d846bfc658105661ce0e4bb3d5c7d190e5"
_FASHION_TEST = HeldOut("f24cf301b160abd47850a2434112a8d30edf9ad82607c27a849f98e1ea756a55", 10_000)

register(Dataset("digits", "digits", "pixels", 1797, "bench.data.digits:load", _DIGITS))
register(Dataset("fashion", "Fashion-MNIST", "pixels", 60_000, "bench.data.fashion:load", _FASHION, _FASHION_TEST))
register(Dataset("imagenet", "ImageNet", "latents", 1_281_167, "bench.data.imagenet:ImageNet"))
register(Dataset("celebahq", "CelebA-HQ", "latents", 30_000, "bench.data.image_files:open_files"))
register(Dataset("ffhq", "FFHQ", "latents", 70_000, "bench.data.image_files:open_files"))
register(Dataset("church", "LSUN-Church", "latents", 126_227, "bench.data.church:Church"))
