"""Command line arguments that bench/encode_latents.py and bench/reference.py share, and their checks."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.spec.datasets import get_dataset
from bench.spec.suites import Suite, get_suite
from bench.system.errors import BadInputError
from bench.system.files import check_writable

if TYPE_CHECKING:
    import torch

    from bench.prepare.reading import Reader

_LEAST = {"image_size": 1, "batch_size": 1, "workers": 0, "shard_images": 1}


@dataclass(frozen=True, kw_only=True)
class PrepareArguments:
    """What to prepare, and how its images are read."""

    suite: str
    """Suite whose dataset is prepared: imagenet, celebahq, ffhq or church."""
    data: Path
    """The dataset as published: a folder; for celebahq and ffhq also a zip file."""
    prepared: Path = Path("prepared")
    """Folder of prepared files, with a folder for each suite."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. With several tasks on a node, auto gives each task its own GPU."""
    batch_size: int
    """Images read at once."""
    workers: int | None = None
    """Processes that read and decode images; 0 uses this process only. Default: one for each core, at most 8."""
    shard_images: int
    """Images in a shard."""
    skip_bad: bool = False
    """Leave out images that cannot be read."""
    any_count: bool = False
    """Accept a dataset with another number of images than the published one."""
    classes: int | None = None
    """Number of classes, for a dataset that has others than the published one: the same in every command."""

    @cached_property
    def chosen_suite(self) -> Suite:
        """The suite. BadInputError if it is unknown, if it has no latents, or if a number is too small."""
        suite = get_suite(self.suite, classes=self.classes)
        if not get_dataset(suite.dataset).is_latent:
            raise BadInputError(f"--suite {self.suite}: trains on pixels and needs no preparation")
        for name, least in _LEAST.items():
            value = getattr(self, name, None)
            if value is not None and value < least:
                raise BadInputError(f"--{name.replace('_', '-')} {value}: must be {least} or more")
        return suite

    def reader(self, image_size: int) -> "Reader":
        """A reader of the dataset's images. BadInputError if the dataset is missing, incomplete or of other classes."""
        from bench.data.images import check_classes, check_count, open_images
        from bench.machine.devices import usable_cores
        from bench.prepare.reading import Reader

        dataset = self.chosen_suite.dataset
        source = open_images(dataset, self.data)
        check_count(dataset, source, self.any_count)
        check_classes(source.labels, self.chosen_suite.baseline.config.num_classes, dataset)
        workers = min(usable_cores(), 8) if self.workers is None else self.workers
        return Reader(source, image_size, self.batch_size, workers, self.skip_bad)

    def check_writable(self) -> None:
        """BadInputError if prepared files cannot be written."""
        check_writable(self.prepared / self.suite, f"--prepared {self.prepared}")

    def chosen_device(self) -> "torch.device":
        """The device. BadInputError if it is missing."""
        from bench.machine.devices import pick_task_device, stay_within_cores

        stay_within_cores()
        return pick_task_device(self.device)
