"""Encode a dataset of images: python bench/encode_latents.py --suite imagenet --data DIR"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.data.images import check_count, check_dataset, open_images
from bench.spec.assets import VAE, Assets
from bench.system.allocator import restart_with_tuned_malloc
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError


@dataclass(frozen=True)
class Arguments:
    """Encode a dataset's images and their mirror images into latents, in shards.

    Any number of processes may run the same command, on any nodes that share the folder: each takes shards that no
    other one has. What was interrupted goes on with the shards that are not there yet.
    """

    suite: str
    """Whose dataset: imagenet, celebahq, ffhq or church."""
    data: Path
    """Where the dataset lies: a folder; for celebahq and ffhq, a zip file, too."""
    vae: str = VAE
    """The autoencoder: an id on the Hugging Face hub, or a folder that `save_pretrained` wrote."""
    prepared: Path = Path("prepared")
    """Latents go to <prepared>/<suite>/latents."""
    image_size: int = 256
    """Images are cropped to so many pixels a side."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. With several tasks on a node, auto gives each a GPU of its own."""
    batch_size: int = 32
    """Images that are encoded at once."""
    workers: int | None = None
    """Processes that read and decode images; one a core by default, up to 8. 0: none but this one."""
    shard_images: int = 8192
    """Images in a shard."""
    skip_bad: bool = False
    """Leave images out that cannot be read, and list them in the manifest."""
    any_count: bool = False
    """Take the dataset even if it has not as many images as it should."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    _check(arguments)
    source = open_images(arguments.suite, arguments.data)
    check_count(arguments.suite, source, arguments.any_count)

    import torch

    from bench.prepare.encoding import Encoding
    from bench.sampling.decoding import load_autoencoder
    from bench.system.environment import pick_task_device, usable_cores

    autoencoder = load_autoencoder(arguments.vae, pick_task_device(arguments.device))
    if arguments.image_size % autoencoder.downsampling:
        raise BadInputError(f"--image-size {arguments.image_size}: not a multiple of {autoencoder.downsampling}")
    encoding = Encoding(
        folder=Assets(arguments.prepared).latents(arguments.suite),
        dataset=arguments.suite,
        source=source,
        autoencoder=autoencoder,
        autoencoder_source=str(Path(arguments.vae).resolve()) if Path(arguments.vae).is_dir() else arguments.vae,
        image_size=arguments.image_size,
        shard_images=arguments.shard_images,
        batch_size=arguments.batch_size,
        workers=min(usable_cores(), 8) if arguments.workers is None else arguments.workers,
        skip_bad=arguments.skip_bad,
    )
    encoding.check_settings()
    count = len(encoding.ranges)
    try:
        made, complete = encoding.run(first_shard(count))
    except torch.OutOfMemoryError as error:
        raise BadInputError(f"--batch-size {arguments.batch_size}: takes more memory than there is") from error
    if not complete:
        print(f"{encoding.folder}: {made} of {count} shards made here; other processes have not finished theirs yet")
        return 0
    manifest = encoding.finish()
    print(
        f"{encoding.folder}: complete ({made} of {count} shards made here), {manifest['count']:,} images, "
        f"{len(manifest['unreadable'])} left out, digest {manifest['digest'][:16]}"
    )
    return 0


def first_shard(count: int) -> int:
    """Where a process begins, so that the tasks of a Slurm job or array begin far from each other."""
    tasks, task = (int(os.environ.get(name, default)) for name, default in (("SLURM_NTASKS", 1), ("SLURM_PROCID", 0)))
    arrays = int(os.environ.get("SLURM_ARRAY_TASK_COUNT", 1))
    array = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0)) - int(os.environ.get("SLURM_ARRAY_TASK_MIN", 0))
    return (array * tasks + task) * count // (arrays * tasks) % count


def _check(arguments: Arguments) -> None:
    check_dataset(arguments.suite)
    for name in ("image_size", "batch_size", "shard_images", "workers"):
        value, least = getattr(arguments, name), int(name != "workers")
        if value is not None and value < least:
            raise BadInputError(f"--{name.replace('_', '-')} {value}: must be at least {least}")


if __name__ == "__main__":
    restart_with_tuned_malloc()
    sys.exit(run(main))
