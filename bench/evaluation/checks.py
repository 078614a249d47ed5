"""Checks of a grid before its work: inputs are there, and no kept record would be outdated."""

from collections.abc import Sequence

from bench.evaluation.executors import Work
from bench.evaluation.plan import needed_runs, untrained
from bench.spec.datasets import get_dataset
from bench.spec.measurements import AnyCell, Floor
from bench.spec.selection import Selection
from bench.store.records import Store
from bench.store.references import reference_path
from bench.system.errors import BadInputError


def check_data(work: Work, selection: Selection, todo: Sequence[AnyCell]) -> None:
    """BadInputError, before any work or queueing, if a dataset, latents or reference statistics are missing."""
    from bench.data.pixels import load_dataset, load_held_out
    from bench.data.sources import check_training_data

    suite, places = work.suite, work.places
    runs = untrained(work.store, needed_runs(todo))
    judged = any(cell.measure == "quality" for cell in todo)
    check_training_data(runs, places)
    if judged and not runs and not get_dataset(suite.dataset).is_latent:
        load_dataset(suite.dataset, places.data)
    for floor in (cell for cell in todo if isinstance(cell, Floor)):
        load_held_out(suite.dataset, places.held_out or (None if suite.own else places.data), floor.images_digest)
    if judged and get_dataset(suite.dataset).is_latent and selection.reference is None:
        raise BadInputError(
            f"--suite {suite.name}: {reference_path(work.store.root)} is not there, which names its reference; make it "
            f"with bench/reference.py --suite {suite.name} --data DIR"
        )


def forget_batches(store: Store, cells: Sequence[AnyCell], todo: Sequence[AnyCell]) -> None:
    """Delete finished batches of cells with records: left by a process that was killed between writing and deleting."""
    from bench.store.finished_batches import forget

    left = {cell.key for cell in todo}
    for cell in cells:
        if cell.key not in left:
            forget(store.partial_folder(cell))


def refuse_to_outdate(store: Store, todo: Sequence[AnyCell]) -> None:
    """BadInputError if a run with kept records would be trained again: other weights make these records stale."""
    for training in needed_runs(todo):
        if store.read_training(training) is not None and not store.has_weights(training):
            raise BadInputError(
                f"{training.name}: its records are in {store.root}, its weights are not; choose another --results, or "
                "--retrain to train again and replace them"
            )
