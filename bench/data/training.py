"""What a run trains on: the images of an embedded dataset, or the latents of another."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.assets import Assets
from bench.cells import TrainingRun
from bench.data import DIGESTS, load_dataset
from bench.data.batches import BatchSource, Source
from bench.ranks import Ranks
from models.autoencoder import PixelAutoencoder
from models.timesteps import TIMESTEPS


@contextmanager
def training_source(run: TrainingRun, assets: Assets, ranks: Ranks) -> Iterator[Source]:
    """Batches of the run's dataset, inside. BadInputError if it is missing, truncated or changed."""
    recipe, classes = run.recipe, run.config.num_classes
    data = load_dataset(run.dataset)
    x0 = PixelAutoencoder().encode(data.images)
    yield BatchSource(x0, data.labels, classes, recipe.class_dropout, TIMESTEPS, DIGESTS[run.dataset])
