"""Checkpoints: a folder per saved step, made whole and renamed into place.

    checkpoints/<run>/step-00000558/ema.safetensors    what is evaluated
                                    state.safetensors  weights and optimizer, to go on from
                                    meta.json          run, step, elapsed seconds, status, digests

Only the newest is kept. Everything is verified against its digest when it is read; nothing is unpickled.
"""

import json
import os
import shutil
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.cells import TrainingRun
from bench.errors import BadInputError

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A training at a step.

    Attributes:
        ema: averaged weights by parameter name, buffers included.
        state: weights ("model.*") and optimizer ("exp_avg.*", "exp_avg_sq.*").
        step: optimizer steps taken.
        elapsed_s: training clock.
        status: "training", "done" or "diverged".
        extra: small values that the trainer goes on with (gradient scaler, open window of the metrics log).
    """

    ema: Tensors
    state: Tensors
    step: int
    elapsed_s: float
    status: str
    extra: dict[str, Any] = field(default_factory=dict)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def save(folder: Path, run: TrainingRun, checkpoint: Checkpoint) -> str:
    """Write a checkpoint, drop older ones, and return the digest of its EMA weights."""
    final = folder / f"step-{checkpoint.step:08d}"
    temporary = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name, tensors in (("ema", checkpoint.ema), ("state", checkpoint.state)):
            save_file({k: v.contiguous() for k, v in tensors.items()}, temporary / f"{name}.safetensors")
        digests = {name: _digest(temporary / f"{name}.safetensors") for name in ("ema", "state")}
        meta = {
            "run": run.identity(),
            "step": checkpoint.step,
            "elapsed_s": checkpoint.elapsed_s,
            "status": checkpoint.status,
            "digests": digests,
            "extra": checkpoint.extra,
        }
        (temporary / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
        if final.exists():  # nothing was trained since: only what meta.json says can be new
            os.replace(temporary / "meta.json", final / "meta.json")
        else:
            os.replace(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for path in folder.iterdir():
        if path != final:
            shutil.rmtree(path)
    return digests["ema"]


def _verified(path: Path, digest: str) -> Tensors:
    if not path.exists() or _digest(path) != digest:
        raise BadInputError(
            f"checkpoint {path} is truncated or changed (digest differs): delete {path.parent} to train again"
        )
    return load_file(path)


def read_meta(folder: Path, run: TrainingRun) -> dict[str, Any] | None:
    """The newest checkpoint's meta.json; None if there is no checkpoint.

    Raises:
        BadInputError: it is damaged or belongs to another run; names the first setting that differs.
    """
    if not (folders := _folders(folder)):
        return None
    path = folders[-1] / "meta.json"
    try:
        meta = json.loads(path.read_text())
        found, expected = _flat(meta["run"]), _flat(json.loads(json.dumps(run.identity())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"checkpoint {path} is damaged ({error}): delete {path.parent} to train again") from error
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise BadInputError(
                f"checkpoint {path.parent} is of another run: its {name} is {found.get(name)}, expected "
                f"{expected.get(name)}; delete it or choose another --results"
            )
    return meta


def _flat(spec: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in spec.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat


def load(folder: Path, run: TrainingRun) -> Checkpoint | None:
    """The newest checkpoint, verified; None if there is none. BadInputError as `read_meta`, or if truncated."""
    meta = read_meta(folder, run)
    if meta is None:
        return None
    newest = _folders(folder)[-1]
    ema = _verified(newest / "ema.safetensors", meta["digests"]["ema"])
    state = _verified(newest / "state.safetensors", meta["digests"]["state"])
    return Checkpoint(ema, state, meta["step"], meta["elapsed_s"], meta["status"], meta["extra"])


def load_ema(folder: Path, run: TrainingRun) -> tuple[Tensors, str]:
    """The EMA weights of the newest checkpoint and their digest. BadInputError if there are none, and as `load`."""
    meta = read_meta(folder, run)
    if meta is None:
        raise BadInputError(f"no checkpoint in {folder}: train {run.name} first")
    digest = meta["digests"]["ema"]
    return _verified(_folders(folder)[-1] / "ema.safetensors", digest), digest
