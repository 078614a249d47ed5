"""Make a suite's reference statistics: python bench/reference.py --suite imagenet --data DIR

<prepared>/<suite>/reference-<identity>.safetensors   the statistics (`bench.quality.reference_statistics`)
results/<suite>/reference.json                        their identity (`bench.store.references`)
results/<suite>/reference-dinov2.json                 identity of those in DINOv2's features, a file of their own
"""

import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.prepare.arguments import PrepareArguments
from bench.store.records import Store
from bench.store.second import chosen_second
from bench.system.command_line import parse, run

DOWNSAMPLING = 8  # of the suites' autoencoder: image pixels along a side of a latent pixel


@dataclass(frozen=True, kw_only=True)
class Arguments(PrepareArguments):
    """Make the statistics of a dataset's images, which the samples of its suite are compared with.

    Processes that run the same command at once share the shards. An interrupted command goes on with the missing
    shards when it is run again.
    """

    suite: str = "imagenet"
    """Suite whose dataset and feature extractor are used: imagenet, celebahq, ffhq or church."""
    results: Path = Path("results")
    """Results folder, where the identity of the statistics is kept."""
    inception_weights: Path | None = None
    """File with the weights of torch-fidelity's Inception, for nodes without internet; downloaded by default."""
    dinov2_weights: Path | None = None
    """File with DINOv2's weights, such as dinov2_vitl14_pretrain.pth: make statistics in its features too, in the same
    pass over the images. By default only Inception's are made."""
    batch_size: int = 256
    """Images read at once. Features are computed 100 images at a time in any case."""
    shard_images: int = 65536
    """Images in a shard."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    suite = arguments.chosen_suite
    store = Store(arguments.results, suite.name)
    store.check_writable()
    arguments.check_writable()

    from bench.prepare.reference_shards import ReferenceRun
    from bench.quality.extractor import make_extractor, make_second

    device = arguments.chosen_device()
    reader = arguments.reader(DOWNSAMPLING * suite.baseline.config.input_size)
    second = chosen_second(suite, arguments.dinov2_weights)
    beside = {second: make_second(second, device, arguments.dinov2_weights)} if second else {}
    extractors = {"": make_extractor(suite.evaluation.extractor, device, arguments.inception_weights), **beside}
    prepared = arguments.prepared / suite.name
    print(ReferenceRun(reader, suite.dataset, extractors, prepared, store.root, arguments.shard_images).make())
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
