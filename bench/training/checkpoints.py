"""Checkpoints: a folder per saved step, made whole and renamed into place.

    checkpoints/<run>/step-00000558/ema.safetensors    averaged weights, which are evaluated
                                    state.safetensors  weights and optimizer, to go on from
                                    meta.json          run, step, elapsed seconds, status, digests

Only the newest is kept. A run that has ended also has `config.json` and `model.safetensors`, which is the same file as
its `ema.safetensors`: a folder that `models.pretrained` reads. Everything is verified against its digest when it is
read; nothing is unpickled. The process that trains a run holds its lock.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bench.spec.cells import TrainingRun
from bench.store.tensors import numbered, read_tensors
from bench.system.errors import BadInputError, naming
from bench.system.files import read_bytes, settle, sha256_of, write_json, write_text
from bench.system.locks import hold
from models.pretrained import CONFIG, WEIGHTS, Description

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """State of a training after a step.

    Attributes:
        ema: averaged weights by parameter name, buffers included.
        state: weights ("model.*") and optimizer ("exp_avg.*", "exp_avg_sq.*").
        step: training steps taken.
        elapsed_s: training clock, seconds.
        status: "training", "done" or "diverged".
        hardware: name of the hardware; seconds of different hardware are not added up.
        extra: small values that the trainer restores.
    """

    ema: Tensors
    state: Tensors
    step: int
    elapsed_s: float
    status: str
    hardware: str
    extra: dict[str, Any] = field(default_factory=dict)


_SCALARS = ("step", "elapsed_s", "status", "hardware", "extra")  # attributes that meta.json has


@contextmanager
def exclusive(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold the run's lock. While another process trains it: wait, and say so, or without `wait` BadInputError."""
    with ExitStack() as stack:
        if not stack.enter_context(hold(folder / "lock")):
            if not wait:
                raise BadInputError(f"{folder.name} is being trained by another process: wait for it")
            print(f"waiting for {folder.name}, which another process trains", file=sys.stderr)
            stack.enter_context(hold(folder / "lock", wait=True))
        _remove_left_behind(folder)
        yield


def _remove_left_behind(folder: Path) -> None:
    """Remove what a killed process left: a checkpoint that is not whole, and those before the newest."""
    for path in [*folder.glob(".step-*"), *sorted(folder.glob("step-*"))[:-1]]:
        shutil.rmtree(path, ignore_errors=True)


def _write_tensors(path: Path, tensors: Tensors) -> None:
    with numbered(path):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        with path.open("rb") as file:
            settle(file)


def save(folder: Path, run: TrainingRun, checkpoint: Checkpoint) -> str:
    """Write a checkpoint, drop older ones, and return the digest of its EMA weights. OSError if storage fails."""
    final = folder / f"step-{checkpoint.step:08d}"
    temporary = folder / f".{final.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for name, tensors in (("ema", checkpoint.ema), ("state", checkpoint.state)):
            _write_tensors(temporary / f"{name}.safetensors", tensors)
        digests = {name: sha256_of(temporary / f"{name}.safetensors") for name in ("ema", "state")}
        meta = {
            "run": run.identity(),
            **{name: getattr(checkpoint, name) for name in _SCALARS},
            "digests": digests,
        }
        text = json.dumps(meta, indent=1) + "\n"  # gradients that overflowed are in the log: norms may be infinite
        write_text(temporary / "meta.json", text)
        if not final.exists():
            with naming(final, always=True):
                os.replace(temporary, final)
        elif json.loads(read_bytes(final / "meta.json"))["digests"] == digests:
            os.replace(temporary / "meta.json", final / "meta.json")  # no step was taken since
        else:
            raise RuntimeError(f"{final} holds other weights of the same step")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for path in folder.glob("step-*"):
        if path != final:
            shutil.rmtree(path, ignore_errors=True)
    return digests["ema"]


def publish(folder: Path, description: Description) -> None:
    """Make a run's folder one that `models.pretrained` reads, from its newest checkpoint. OSError if storage fails."""
    weights = sorted(folder.glob("step-*"))[-1] / "ema.safetensors"
    temporary = folder / f".{WEIGHTS}"
    with naming(folder / WEIGHTS, always=True):
        temporary.unlink(missing_ok=True)
        try:
            os.link(weights, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(weights, temporary)
        os.replace(temporary, folder / WEIGHTS)
        temporary.unlink(missing_ok=True)  # renaming a link to another of the same file does nothing
    write_json(folder / CONFIG, description.to_json())


def newest(folder: Path, run: TrainingRun) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint's folder and meta.json; None if there is none.

    Raises:
        BadInputError: it is damaged or belongs to another run; names the first setting that differs.
    """
    if not (folders := sorted(folder.glob("step-*"))):
        return None
    path = folders[-1] / "meta.json"
    try:
        meta = json.loads(read_bytes(path))
        found, expected = _flat(meta["run"]), _flat(run.identity())
        _ = [meta[name] for name in _SCALARS], meta["digests"]["ema"], meta["digests"]["state"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"checkpoint {path} is damaged ({error}): delete {path.parent} to train again") from error
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise BadInputError(
                f"checkpoint {path.parent} is of another run: its {name} is {found.get(name)}, expected "
                f"{expected.get(name)}; delete it or choose another --results"
            )
    return folders[-1], meta


def _flat(spec: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in spec.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat


def _check(path: Path, digest: str) -> None:
    if not path.exists() or sha256_of(path) != digest:
        raise BadInputError(
            f"checkpoint {path} is truncated or changed (digest differs): delete {path.parent} to train again"
        )


def _verified(path: Path, digest: str) -> Tensors:
    _check(path, digest)
    return _read(path)


def _read(path: Path) -> Tensors:
    try:
        return read_tensors(path)[0]
    except SafetensorError as error:  # although its digest was right
        raise BadInputError(
            f"checkpoint {path} changed while it was read ({error}): run the same command again"
        ) from error


def load(folder: Path, run: TrainingRun) -> tuple[Checkpoint, str] | None:
    """The newest checkpoint, verified, and the digest of its EMA weights; None if there is none.

    Raises:
        BadInputError: as `newest`, or a file is truncated.
    """
    if (found := newest(folder, run)) is None:
        return None
    path, meta = found
    digests = meta["digests"]
    saved = Checkpoint(
        ema=_verified(path / "ema.safetensors", digests["ema"]),
        state=_verified(path / "state.safetensors", digests["state"]),
        **{name: meta[name] for name in _SCALARS},
    )
    return saved, digests["ema"]


def find_ema(folder: Path, run: TrainingRun) -> tuple[Path, str]:
    """File of the newest checkpoint's EMA weights, verified, and its digest. BadInputError if none, and as `load`."""
    if (found := newest(folder, run)) is None:
        raise BadInputError(f"no checkpoint in {folder}: train {run.name} first")
    path, digest = found[0] / "ema.safetensors", found[1]["digests"]["ema"]
    _check(path, digest)
    return path, digest
