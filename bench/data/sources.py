"""Training data of a run: the images of a pixel dataset, or the latents of another dataset."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from bench.data.batches import BatchSource, Prefetched, Source
from bench.data.latents import Latents, LatentSource
from bench.data.pixels import load_dataset
from bench.spec.arguments import Places
from bench.spec.cells import TrainingRun
from bench.spec.datasets import get_dataset
from bench.system.errors import BadInputError
from models.autoencoder import PixelAutoencoder
from models.diffusion.timesteps import TIMESTEPS


@contextmanager
def training_source(
    run: TrainingRun, places: Places, first_does: Callable[[Callable[[], Latents]], Latents | None]
) -> Iterator[Source]:
    """A context with the batches of a run's dataset. Batches of latents are made one step ahead.

    Args:
        run: the training run.
        places: where datasets and latents are.
        first_does: `Ranks.first_does`, with which rank 0 verifies latents while the other ranks wait.

    Raises:
        BadInputError: the dataset is missing, truncated, altered or of another shape than the network takes.
    """
    recipe, classes, dataset = run.recipe, run.config.num_classes, get_dataset(run.dataset)
    if not dataset.is_latent:
        data = load_dataset(run.dataset, places.data)
        x0 = PixelAutoencoder().encode(data.images)
        yield BatchSource(x0, data.labels, classes, recipe.class_dropout, TIMESTEPS, dataset.digest)
        return
    folder = places.latents(run.suite)
    latents = first_does(lambda: check_latents(Latents.open(folder), run)) or Latents.open(folder, verify=False)
    source = Prefetched(LatentSource(latents, classes, recipe.class_dropout, TIMESTEPS))
    try:
        yield source
    finally:
        source.close()


def check_training_data(runs: Iterable[TrainingRun], places: Places) -> None:
    """BadInputError if runs that train on latents would not find them. Called before jobs are queued."""
    for run in {run.model: run for run in runs if get_dataset(run.dataset).is_latent}.values():
        check_latents(Latents.open(places.latents(run.suite), verify=False), run)


def check_latents(latents: Latents, run: TrainingRun) -> Latents:
    """Return the latents. BadInputError if their shape or labels do not fit the run's network."""
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
