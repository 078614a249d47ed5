"""Storage that fails while a run is trained or gone on with: one line, and the next command goes on."""

import errno
import os

import pytest
from faults import no_modes, refused
from test_ranks import finish, start_ranks

from bench.system.command_line import run
from bench.train import main

OPTIONS = ["--models", "fpdm", "--size", "XS/2", "--batch-size", "8", "--train-steps", "1", "--device", "cpu"]


@pytest.fixture
def train(tmp_path):
    """Trains a small network for a step; returns the status of the command."""
    return lambda: run(main, [*OPTIONS, "--results", str(tmp_path / "results")])


def kept(folder):
    """Names of all files; a training that was not disturbed leaves the same."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(main, [*OPTIONS, "--results", str(folder)]) == 0
    return kept(folder)


@pytest.mark.parametrize(
    ("operation", "name", "number"),
    [
        ("mkdir", "checkpoints", errno.ENODEV),
        ("open", "checkpoints/.*lock", errno.EMFILE),
        ("lock", "checkpoints/.*lock", errno.EHOSTDOWN),
        ("write", ".jsonl", errno.ETIMEDOUT),
        ("write", "ema.safetensors", errno.ESTALE),
        ("write", "state.safetensors", errno.EIO),
        ("open", "state.safetensors", errno.ENFILE),
        ("write", "meta.json", errno.ENOSPC),
        ("replace", "/step-00000001", errno.EBUSY),
        ("write", r"training/.*\.json\.", errno.ENOTCONN),
    ],
)
def test_a_run_that_cannot_be_saved_is_one_line_and_goes_on(
    operation, name, number, train, undisturbed, tmp_path, capsys
):
    refused(train, operation, name, number, capsys, tmp_path)
    assert train() == 0
    assert kept(tmp_path / "results") == undisturbed


def test_a_run_that_cannot_be_read_is_one_line_and_goes_on(train, undisturbed, tmp_path, capsys):
    assert train() == 0
    for operation, name, number in (
        ("read", "meta.json", errno.ESTALE),
        ("open", "ema.safetensors", errno.EIO),
        ("open", "state.safetensors", errno.ENXIO),
        ("read", ".jsonl", errno.EREMOTEIO),
        ("read", r"training/.*\.json$", errno.ENOTCONN),
    ):
        refused(train, operation, name, number, capsys, tmp_path)
    assert train() == 0
    assert kept(tmp_path / "results") == undisturbed


def test_a_file_system_that_refuses_modes_gets_a_trained_run(train, undisturbed, tmp_path, monkeypatch):
    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, no_modes)
    assert train() == 0
    assert kept(tmp_path / "results") == undisturbed


@pytest.mark.parametrize("name", ["n" * 300, "loop", "file/below"])
def test_a_results_folder_that_cannot_be_is_one_line(name, tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    before = sorted(os.listdir(tmp_path))
    assert run(main, ["--train-steps", "1", "--device", "cpu", "--results", str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert name.partition("/")[0] in line
    assert sorted(os.listdir(tmp_path)) == before


FULL = (
    "-c",
    "import errno, sys; from bench.training import checkpoints\n"
    "from bench.system.command_line import run; from bench.train import main\n"
    "def full(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
    "checkpoints.save_file = full\n"
    "sys.exit(run(main))",
)


@pytest.mark.slow  # two processes that import torch
def test_two_ranks_end_together_where_the_first_cannot_save(tmp_path):
    """The second would otherwise wait, and then report a lost connection with a traceback."""
    options = ["--models", "fpdm", "--size", "XS/2", "--batch-size", "8", "--train-steps", "1", "--device", "cpu"]
    codes, outputs = finish(start_ranks(2, [*options, "--results", str(tmp_path)], FULL))
    assert codes == [2, 2], outputs
    told = [line for _, error in outputs for line in error.splitlines() if "No space left on device" in line]
    assert len(told) == 1, outputs
    assert told[0].startswith("error: ")
    assert "ema.safetensors" in told[0]
