"""Encode a dataset of images into latents: python bench/encode_latents.py --suite imagenet --data DIR"""

import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.prepare.arguments import PrepareArguments
from bench.spec.arguments import VAE, Places
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError


@dataclass(frozen=True, kw_only=True)
class Arguments(PrepareArguments):
    """Encode a dataset's images and their mirror images into <prepared>/<suite>/latents, in shards.

    Any number of processes, on all nodes that share the folder, may run the same command: each takes other shards. An
    interrupted command goes on with the missing shards when it is run again.
    """

    vae: str = VAE
    """The autoencoder: an id on the Hugging Face hub, or a folder that `save_pretrained` wrote."""
    image_size: int = 256
    """Size of the centre crops, pixels a side."""
    batch_size: int = 32
    """Images encoded at once."""
    shard_images: int = 8192
    """Images in a shard."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    suite = arguments.chosen_suite
    arguments.check_writable()
    reader = arguments.reader(arguments.image_size)

    import torch

    from bench.prepare.encoding import Encoding
    from bench.sampling.decoding import load_autoencoder

    vae = arguments.vae
    autoencoder = load_autoencoder(vae, arguments.chosen_device())
    if arguments.image_size % autoencoder.downsampling:
        raise BadInputError(f"--image-size {arguments.image_size}: not a multiple of {autoencoder.downsampling}")
    encoding = Encoding(
        folder=Places(prepared=arguments.prepared).latents(suite.name),
        dataset=suite.dataset,
        reader=reader,
        autoencoder=autoencoder,
        autoencoder_source=str(Path(vae).resolve()) if Path(vae).is_dir() else vae,
        shard_images=arguments.shard_images,
    )
    try:
        print(encoding.make())
    except torch.OutOfMemoryError as error:
        raise BadInputError(f"--batch-size {arguments.batch_size}: needs more memory than the device has") from error
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
