"""The averaged weights of a finished run: its checkpoint's or, where there is none, those kept with the results."""

from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.store.tensors import read_tensors
from bench.system.errors import BadInputError
from bench.system.files import sha256_of
from bench.training import checkpoints
from models.pretrained import WEIGHTS


def find_weights(store: Store, run: TrainingRun) -> tuple[Path, str]:
    """File of a run's averaged weights, verified, and its SHA-256.

    Raises:
        BadInputError: there are none, they are damaged, or they are not those of the run's training.
    """
    checkpoint, folder = store.checkpoint_folder(run), store.weights_folder(run)
    if any(checkpoint.glob("step-*")) or not store.has_weights(run):
        return checkpoints.find_ema(checkpoint, run)
    path, training = folder / WEIGHTS, store.read_training(run)
    if training is None:
        raise BadInputError(f"weights {folder}: {store.training_path(run)} is not there, which says what they are")
    digest: str = training["digest"]
    if not path.is_file() or sha256_of(path) != digest:
        raise BadInputError(
            f"weights {path} are damaged, or of another training than {store.training_path(run)} (digest differs): "
            f"restore them, or delete {folder} and train again with --retrain"
        )
    return path, digest


def load_weights(store: Store, run: TrainingRun) -> tuple[dict[str, Tensor], str]:
    """A run's averaged weights by parameter name, and the SHA-256 of their file. BadInputError as `find_weights`."""
    path, digest = find_weights(store, run)
    try:
        return read_tensors(path)[0], digest
    except SafetensorError as error:  # although its digest was right
        raise BadInputError(
            f"weights {path} changed while they were read ({error}): run the same command again"
        ) from error
