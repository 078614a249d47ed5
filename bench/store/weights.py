"""Averaged weights that are kept with the results, so that numbers can be checked without training.

    results/<suite>/weights/<run>/config.json, model.safetensors    as `models.pretrained` reads them
                                  README.md                         the model card

They are copies of the finished run's checkpoint. The folder has its config.json last: without it, nothing is there.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.spec.cells import TrainingRun
from bench.spec.contenders import Suite
from bench.spec.selection import Selection, replicates, training_run
from bench.store.model_card import model_card
from bench.store.records import Record, Store
from bench.system.errors import BadInputError
from bench.system.files import read_bytes, sha256_of, write_bytes, write_text, write_whole
from models.pretrained import CONFIG, WEIGHTS

CARD = "README.md"


def first_replicate(store: Store, suite: Suite, selection: Selection) -> list[TrainingRun]:
    """The trainings of the first replicate of every contender, or of the selected ones, that there are records of."""
    contenders = suite.contenders if selection.models is None else suite.chosen(selection.models)
    seed = replicates(suite, selection)[0]
    runs = dict.fromkeys(training_run(suite, one, selection, seed) for one in contenders)
    named = {record.cell["train_run"] for record in store.records() if store.is_current(record)}
    return [run for run in runs if run.name in named and not run.elsewhere]


def keep_weights(store: Store, runs: Iterable[TrainingRun]) -> list[str]:
    """Keep the weights of finished runs with the results; returns a line for each run.

    Kept weights of an earlier training of the same name are replaced, and the line says so: the summary and the records
    are of the new ones.

    Raises:
        BadInputError: a run's weights are neither here nor kept, or are not those of its summary. Then none are kept.
    """
    found = [(run, *_source(store, run)) for run in runs]
    records = [record for record in store.records() if store.is_current(record)]
    return [_keep(store, run, records, source, digest) for run, source, digest in found]


def _source(store: Store, run: TrainingRun) -> tuple[Path, str]:
    """The folder with a run's weights, and their digest, which is that of its summary."""
    training, folder = store.read_training(run), store.network_folder(run)
    if training is None or folder is None:
        raise BadInputError(
            f"--keep-weights: there are records of {run.name} but no weights, in {store.checkpoint_folder(run)} or in "
            f"{store.weights_folder(run)}: choose contenders with --models"
        )
    digest: str = training["digest"]
    if (there := sha256_of(folder / WEIGHTS)) != digest:
        raise BadInputError(
            f"--keep-weights: {folder / WEIGHTS} has the digest {there[:12]}, {store.training_path(run)} names "
            f"{digest[:12]}: it is damaged or of another training"
        )
    return folder, digest


def _keep(store: Store, run: TrainingRun, records: Sequence[Record], source: Path, digest: str) -> str:
    folder, said = store.weights_folder(run), "kept"
    weights = folder / WEIGHTS
    known = sha256_of(weights) if weights.is_file() else None
    config = read_bytes(source / CONFIG)
    if known != digest:
        if known is not None:
            said = f"kept, in place of others ({known[:12]})"
        (folder / CONFIG).unlink(missing_ok=True)
        with (source / WEIGHTS).open("rb") as original:
            write_whole(weights, lambda file: shutil.copyfileobj(original, file))
    training = store.read_training(run)
    assert training is not None
    own = (record for record in records if record.cell["train_run"] == run.name)
    write_text(folder / CARD, model_card(run, training, own))
    write_bytes(folder / CONFIG, config)
    return f"{folder}: weights {digest[:12]} {said}, {weights.stat().st_size / 1e6:.1f} MB"
