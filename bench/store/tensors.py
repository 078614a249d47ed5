"""Tensor files (safetensors), whose input and output errors become OSErrors with a number and the file's name.

Files are read, not mapped into memory: where a mapped file is truncated or its server is gone, SIGBUS ends the process.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from bench.system.errors import BadInputError, naming


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, and its metadata.

    Raises:
        OSError: the file is missing, or the storage fails.
        SafetensorError: the file is damaged.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file. Errors as in `read_tensors`."""
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def numbered(path: Path) -> Iterator[None]:
    """Inside, safetensors' errors of the operating system become OSErrors that have its number and name the file."""
    try:
        with naming(path):
            yield
    except (SafetensorError, OSError) as error:
        if (number := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    with numbered(path):
        path.stat()  # if this fails, the error has a number
        with safe_open(path, "pt", backend="pread") as file:
            yield file


def as_state_dict(path: Path, content: bytes) -> dict[str, Tensor] | None:
    """The tensors in a file of safetensors or of torch, where a checkpoint's averaged weights are taken; None if it
    holds anything else. No other objects are unpickled.
    """
    try:
        if path.suffix == ".safetensors":
            return load(content)
        state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # the unpickler raises many kinds of errors
        return None
    if isinstance(state, dict) and isinstance(state.get("ema"), dict):
        state = state["ema"]
    whole = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    return state if whole else None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """As `as_state_dict`, of a file. BadInputError if it cannot be read or holds no state dict."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if (state := as_state_dict(path, content)) is None:
        raise BadInputError(f"{path}: not a state dict of tensors")
    return state
