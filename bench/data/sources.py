"""Training data of a run: the images of a pixel dataset, or the latents of another dataset."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.data.batches import BatchSource, Prefetched, Source
from bench.data.images import check_classes
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
        BadInputError: the dataset is missing, truncated, altered, or of another shape or other classes than the
            network's.
    """
    recipe, classes, dataset = run.recipe, run.config.num_classes, get_dataset(run.dataset)
    if not dataset.is_latent:
        data = load_dataset(run.dataset, places.data)
        check_classes(data.labels.numpy(), classes, f"dataset {run.dataset}")
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


def check_training_data(runs: Sequence[TrainingRun], places: Places) -> None:
    """BadInputError if runs would not find their images or latents. Called before jobs are queued or files written."""
    for run in {run.model: run for run in runs if get_dataset(run.dataset).is_latent}.values():
        check_latents(Latents.open(places.latents(run.suite), verify=False), run)
    for dataset in {run.dataset for run in runs if not get_dataset(run.dataset).is_latent}:
        load_dataset(dataset, places.data)


def check_latents(latents: Latents, run: TrainingRun) -> Latents:
    """Return the latents. BadInputError if their dataset, shape or labels do not fit the run."""
    config = run.config
    expected = (config.in_channels, config.input_size, config.input_size)
    if latents.shape != expected:
        raise BadInputError(
            f"latents of {run.suite} are {'x'.join(map(str, latents.shape))}, {run.model} takes "
            f"{'x'.join(map(str, expected))}: encode images of {8 * config.input_size} pixels with the suite's VAE"
        )
    if (encoded := latents.manifest["dataset"]) != run.dataset:
        raise BadInputError(f"latents of {run.suite} are of the dataset {encoded}, expected {run.dataset}: encode it")
    check_classes(latents.labels.numpy(), config.num_classes, f"latents of {run.suite}")
    return latents
