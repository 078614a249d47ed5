"""Sample labelled images from trained weights: python bench/sample.py --suite digits --model fpdm --labels 0 1 2 3"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from bench.spec.arguments import VAE, Results, Training, What, one_of, selection_of, suite_of
from bench.spec.datasets import get_dataset
from bench.spec.selection import training_run
from bench.store.own_images import read_own
from bench.store.records import Store
from bench.system.command_line import Group, parse, run
from bench.system.errors import BadInputError, naming
from models.diffusion.samplers import SAMPLERS
from models.pretrained import PIXELS

if TYPE_CHECKING:
    from bench.sampling.pipeline import SamplingOutput, SamplingPipeline


@dataclass(frozen=True)
class Weights:
    """Which weights: those of a suite's contender, a folder's, or a released state dict's (--weights)."""

    suite: str = "digits"
    """Dataset with its contenders."""
    model: str = "fpdm"
    """A contender of the suite. With --weights it is the contender that they add."""
    seed: int = 0
    """Training seed of the contender."""
    folder: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Folder or hub id with config.json and model.safetensors, such as a finished run's checkpoint folder."""
    vae: str | None = None
    """Hub id or folder of the autoencoder that decodes latents; default: the one that the weights name."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""


@dataclass(frozen=True)
class Images:
    """Which images, and how they are sampled."""

    labels: tuple[int, ...] = (0, 1, 2, 3)
    """A label for each image."""
    steps: int = 40
    """Sampling steps."""
    iterations: int | None = None
    """Iterations of each step, for networks that iterate. Default: the configuration's."""
    sampler: Annotated[str, tyro.conf.arg(help=f"{one_of(*SAMPLERS).capitalize()}.")] = "ddpm"
    guidance: float = 1.0
    """Scale of classifier-free guidance; 1 samples without."""
    guidance_channels: int | None = None
    """First channels that are guided; the official DiT guides 3. Default: all."""
    noise: int = 0
    """Seed of the noise: image i is the i-th that a grid samples with this seed."""
    spacing: Literal["linspace", "trailing"] = "linspace"
    """Spacing of the timesteps."""
    out: Path = Path("samples.png")
    """Picture to write, the label below each image."""


@dataclass(frozen=True)
class Arguments:
    """Sample images of these labels and write them as one picture, each with its label."""

    weights: Group[Weights] = Weights()
    """Weights."""
    training: Group[Training] = Training()
    """Training of the contender, where it differs from the suite."""
    images: Group[Images] = Images()
    """Images."""
    places: Group[Results] = Results()
    """Folders."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    images = arguments.images
    if images.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise BadInputError(f"--out {images.out}: end its name with .png, .jpg or .webp")
    pipe = _pipeline(arguments)
    output = pipe(
        images.labels,
        images.steps,
        images.iterations,
        images.sampler,
        images.guidance,
        images.guidance_channels,
        images.noise,
        spacing=images.spacing,
    )
    _write(output, images.out)
    cost = output.cost
    print(
        f"{images.out}: {len(output.labels)} images, each {cost.block_passes} block passes and "
        f"{cost.macs / 1e9:.3g} GMACs; {cost.seconds:.1f} s in all on {pipe.device}"
    )
    return 0


def _pipeline(arguments: Arguments) -> "SamplingPipeline":
    weights, training = arguments.weights, arguments.training
    if weights.folder is not None and training.weights is not None:
        raise BadInputError("--from and --weights: give one of them")
    if training.weights is not None:
        return _elsewhere(arguments, training.weights)
    where = weights.folder or str(_found(arguments))
    from bench.sampling.pipeline import SamplingPipeline

    return SamplingPipeline.from_pretrained(where, weights.device, weights.vae)


def _found(arguments: Arguments) -> Path:
    """The folder of a contender's weights in the results. BadInputError if they are not there."""
    weights, results = arguments.weights, arguments.places.results
    what = What(weights.suite, (weights.model,))
    suite = suite_of(what, arguments.training, read_own(results, weights.suite))
    selection = selection_of(what, arguments.training)
    training = training_run(suite, suite.contender(weights.model), selection, weights.seed)
    store = Store(results, suite.name)
    if (folder := store.network_folder(training)) is not None:
        return folder
    others = store.network_folders()
    own = [folder for folder, (model, seed) in others.items() if (model, seed) == (training.model, training.seed)]
    if len(own) == 1:
        print(f"{training.name} is not in {store.root}: sampling with {own[0].name}", file=sys.stderr)
        return own[0]
    there = f"there are {', '.join(folder.name for folder in others)}" if others else "there are none"
    raise BadInputError(
        f"no weights of {training.name} in {store.root} ({there}): train it (bench/train.py --suite {suite.name} "
        f"--models {weights.model} --results DIR), or give --results or --from"
    )


def _elsewhere(arguments: Arguments, path: Path) -> "SamplingPipeline":
    weights = arguments.weights
    suite = suite_of(What(weights.suite), arguments.training)
    one = suite.contender("elsewhere")
    assert one.elsewhere is not None
    from bench.sampling.pipeline import SamplingPipeline
    from bench.store.tensors import read_state_dict

    autoencoder = weights.vae or (VAE if get_dataset(suite.dataset).is_latent else PIXELS)
    state = read_state_dict(path)
    return SamplingPipeline.from_released(state, one.config, one.elsewhere.process, autoencoder, weights.device)


def _write(output: "SamplingOutput", path: Path) -> None:
    from bench.sampling.picture import labelled

    picture = labelled(output.images, output.labels)
    with naming(path, always=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


if __name__ == "__main__":
    sys.exit(run(main))
