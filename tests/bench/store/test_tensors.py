"""Tensor files: what is damaged, what is missing, and what fails in the storage."""

import errno
import os

import pytest
import torch
from faults import fault
from safetensors import SafetensorError
from safetensors.torch import save_file

from bench.store import tensors
from bench.store.tensors import numbered, read_metadata, read_tensors


@pytest.fixture
def path(tmp_path):
    content = {"a": torch.arange(1000.0), "b": torch.ones(2, 3, dtype=torch.uint8), "none": torch.zeros(0, 4)}
    save_file(content, tmp_path / "file.safetensors", {"what": "it is"})
    return tmp_path / "file.safetensors"


def test_tensors_and_metadata_are_read(path):
    found, metadata = read_tensors(path)
    assert torch.equal(found["a"], torch.arange(1000.0))
    assert torch.equal(found["b"], torch.ones(2, 3, dtype=torch.uint8))
    assert found["none"].shape == (0, 4)
    assert metadata == read_metadata(path) == {"what": "it is"}


def test_tensors_outlive_their_file(path):
    found, _ = read_tensors(path)
    os.truncate(path, 0)
    assert found["a"].sum() == 499500


def test_a_damaged_file_is_not_a_failing_storage(path):
    path.write_bytes(path.read_bytes()[:-1])
    for read in (read_tensors, read_metadata):
        with pytest.raises(SafetensorError):
            read(path)


def test_a_file_that_is_truncated_while_it_is_read_is_an_error(path):
    """As on a server that is gone: a mapped file would end the process by SIGBUS."""
    with tensors._opened(path) as file:
        os.truncate(path, 300)
        with pytest.raises(SafetensorError):
            file.get_tensor("a")


def test_a_missing_file_is_known_as_such(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        read_tensors(tmp_path / "missing")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(tmp_path / "missing"))


@pytest.mark.parametrize("kind", [SafetensorError, OSError])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ESTALE, errno.EMFILE], ids=errno.errorcode.get)
def test_errors_of_safetensors_get_their_number_and_path(kind, number, path, monkeypatch):
    def fails(*_, **__):
        raise kind(f"Error while reading: I/O error: {os.strerror(number)} (os error {number})")

    monkeypatch.setattr(tensors, "safe_open", fails)
    with pytest.raises(OSError) as caught:
        read_tensors(path)
    assert (caught.value.errno, caught.value.filename) == (number, str(path))


def test_what_really_fails_has_a_number(tmp_path):
    """A folder instead of a file, and a folder that is a file."""
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "below"
    for path, reading, writing in ((tmp_path, errno.ENODEV, errno.EISDIR), (below, errno.ENOTDIR, errno.ENOTDIR)):
        with pytest.raises(OSError) as caught:
            read_tensors(path)
        assert (caught.value.errno, caught.value.filename) == (reading, str(path))
        with pytest.raises(OSError) as caught, numbered(path):
            save_file({"a": torch.zeros(2)}, path)
        assert (caught.value.errno, caught.value.filename) == (writing, str(path))


def test_a_record_that_cannot_be_read_is_named(store, tiny_run):
    run = tiny_run("dit")
    assert store.read_training(run) is None
    path = store.training_path(run)
    path.parent.mkdir(parents=True)
    path.write_text('{"digest": "d", "status": "done", "step": 1, "elapsed_s": 1}')
    with fault("read", path.name, errno.ESTALE), pytest.raises(OSError) as caught:
        store.read_training(run)
    assert caught.value.filename == str(path)
    assert store.read_training(run)["step"] == 1
