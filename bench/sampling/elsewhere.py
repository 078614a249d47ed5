"""Weights that were trained elsewhere, put where those of a run are."""

from pathlib import Path

import torch

from bench.machine.provenance import describe
from bench.spec.arguments import VAE
from bench.spec.cells import TrainingRun
from bench.spec.datasets import get_dataset
from bench.store.records import Store
from bench.store.tensors import read_state_dict
from bench.system.errors import BadInputError
from bench.system.files import write_json
from bench.training import checkpoints
from models.families import build
from models.pretrained import PIXELS, Description
from models.released import load_released


def put(run: TrainingRun, path: Path, store: Store) -> None:
    """Make the weights of a file the checkpoint of a run, which counts as done; nothing if they are there already.

    Args:
        run: the run, with `elsewhere`.
        path: a state dict of the official DiT or the released FPDM.
        store: receives checkpoint and summary.

    Raises:
        BadInputError: the file holds no state dict, or one of another network.
    """
    folder = store.checkpoint_folder(run)
    with checkpoints.exclusive(folder, wait=True):
        if store.read_training(run) is not None and store.has_weights(run):
            return
        network = build(run.config)
        try:
            load_released(network, read_state_dict(path))
        except ValueError as error:
            raise BadInputError(f"--weights {path}: {error}; --weights-of names their network") from error
        saved = checkpoints.Checkpoint(network.state_dict(), {}, 0, 0.0, "done", "elsewhere")
        digest = checkpoints.save(folder, run, saved)
        training = {"suite": run.suite, "contender": run.model, "seed": run.seed, "name": run.name, "sha256": digest}
        autoencoder = VAE if get_dataset(run.dataset).is_latent else PIXELS
        checkpoints.publish(folder, Description(run.config, run.process, autoencoder, training | {"file": path.name}))
        summary = {"name": run.name, "status": "done", "digest": digest, "step": 0, "elapsed_s": 0.0, "file": path.name}
        environment = describe(torch.device("cpu"))
        write_json(store.training_path(run), summary | {"run": run.identity(), "environment": environment})
