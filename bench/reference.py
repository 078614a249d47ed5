"""Reference statistics of a suite's images: python bench/reference.py --suite imagenet --data DIR

    <prepared>/<suite>/reference-<identity>.safetensors   the statistics (`bench.quality.reference_statistics`)
    results/<suite>/reference.json                        their identity (`bench.store.references`)

Started several times at once, the processes share the work; what was interrupted goes on at the next shard.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.spec.datasets import is_latent
from bench.spec.suites import Suite, get_suite
from bench.store.records import Store
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError

PIXELS = 8  # of an image along a side of a latent's pixel: samples are decoded to as many as the centre crops have


@dataclass(frozen=True)
class Arguments:
    """Make the statistics of a dataset's images that FID and KID of its suite are measured against."""

    data: Path
    """The dataset as shipped."""
    suite: str = "imagenet"
    """Whose reference; the suite names the dataset and the feature extractor."""
    prepared: Path = Path("prepared")
    """Folder of what is made from datasets: the statistics go there."""
    results: Path = Path("results")
    """Results folder: their identity is kept there, with the records that depend on it."""
    inception_weights: Path | None = None
    """File with the weights of torch-fidelity's Inception, for nodes without internet; downloaded by default."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. With several tasks on a node, auto gives each a GPU of its own."""
    batch_size: int = 256
    """Images read at once. Features are computed 100 at a time in any case."""
    workers: int | None = None
    """Processes that read and decode images; one a core by default, up to 8. 0: none but this one."""
    shard_images: int = 65536
    """Images of a shard: what an interruption loses at most."""
    skip_bad: bool = False
    """Leave out images that cannot be read."""
    any_count: bool = False
    """Accept another number of images than the dataset's usual one."""

    def check(self) -> Suite:
        """The suite. BadInputError for values that make no sense."""
        suite = get_suite(self.suite)
        if not is_latent(suite.dataset):
            raise BadInputError(f"--suite {self.suite}: its reference images are shipped, there is nothing to make")
        limits = (("batch_size", 1), ("workers", 0), ("shard_images", 1))
        for name, least in limits:
            if (value := getattr(self, name)) is not None and value < least:
                raise BadInputError(f"--{name.replace('_', '-')} {value}: must be {least} or more")
        return suite


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    suite = arguments.check()
    store = Store(arguments.results, suite.name)
    store.check_writable()

    from bench.data.images import check_count, open_images
    from bench.prepare.reference_shards import ReferenceRun
    from bench.quality.extractor import make_extractor
    from bench.system.environment import pick_task_device, usable_cores

    device = pick_task_device(arguments.device)
    source = open_images(suite.dataset, arguments.data)
    check_count(suite.dataset, source, arguments.any_count)
    extractor = make_extractor(suite.evaluation.extractor, device, arguments.inception_weights)
    work = ReferenceRun(
        source,
        suite.dataset,
        extractor,
        arguments.prepared / suite.name,
        store.root,
        image_size=PIXELS * suite.dit.input_size,
        shard_images=arguments.shard_images,
    )
    workers = min(usable_cores(), 8) if arguments.workers is None else arguments.workers
    print(work.make(arguments.batch_size, workers, arguments.skip_bad))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
