"""What a run trains on: the images of an embedded dataset, or the latents of another."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bench.data.batches import BatchSource, Prefetched, Source
from bench.data.latents import Latents, LatentSource
from bench.data.pixels import load_dataset
from bench.spec.assets import Assets
from bench.spec.cells import TrainingRun
from bench.spec.datasets import DIGESTS, is_latent
from bench.system.errors import BadInputError
from bench.training.ranks import Ranks
from models.autoencoder import PixelAutoencoder
from models.diffusion.timesteps import TIMESTEPS


@contextmanager
def training_source(run: TrainingRun, assets: Assets, ranks: Ranks) -> Iterator[Source]:
    """Batches of the run's dataset, inside. BadInputError if it is missing, truncated, changed or of another shape.

    Latents are verified by rank 0, while the others wait, and drawn a step ahead.
    """
    recipe, classes = run.recipe, run.config.num_classes
    if not is_latent(run.dataset):
        data = load_dataset(run.dataset, assets.data)
        x0 = PixelAutoencoder().encode(data.images)
        yield BatchSource(x0, data.labels, classes, recipe.class_dropout, TIMESTEPS, DIGESTS[run.dataset])
        return
    folder = assets.latents(run.suite)
    latents = ranks.first_does(lambda: check_latents(Latents.open(folder), run)) or Latents.open(folder, verify=False)
    source = Prefetched(LatentSource(latents, classes, recipe.class_dropout, TIMESTEPS))
    try:
        yield source
    finally:
        source.close()


def check_training_data(runs: Iterable[TrainingRun], assets: Assets) -> None:
    """Find out before jobs are queued whether runs will find latents to train on. BadInputError if not."""
    for run in {run.model: run for run in runs if is_latent(run.dataset)}.values():
        check_latents(Latents.open(assets.latents(run.suite), verify=False), run)


def check_latents(latents: Latents, run: TrainingRun) -> Latents:
    """The same latents; BadInputError if they are none that the run's network takes."""
    config = run.config
    expected = (config.in_channels, config.input_size, config.input_size)
    if latents.shape != expected:
        raise BadInputError(
            f"latents of {run.suite} are {'x'.join(map(str, latents.shape))}, {run.model} takes "
            f"{'x'.join(map(str, expected))}: encode images of {8 * config.input_size} pixels with the suite's VAE"
        )
    if (largest := int(latents.labels.max())) >= max(config.num_classes, 1):
        raise BadInputError(f"latents of {run.suite} have label {largest}, {run.model} {config.num_classes} classes")
    return latents
