"""What tests share: a miniature of the digits suite that trains in a second."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from pretend_gpu import pretended

from bench.spec.selection import Selection, training_run
from bench.spec.suites import get_suite
from bench.store.records import Store

# One thread, also in processes that tests start: networks of tests are too small for more, and two only wait for each
# other where something else runs on the machine.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and tests send it


@pytest.fixture(scope="session")
def tiny_suite():
    """digits with narrow, shallow twins."""
    suite = get_suite("digits")
    size = {"hidden_size": 16, "num_heads": 2, "depth": 4}
    suite = suite.changed(config=size, recipe={"batch_size": 16, "n_max": 2, "m_max": 2})
    return replace(
        suite,
        evaluation=replace(suite.evaluation, samples=20, batch_size=8, kid_subsets=3, kid_subset_size=10),
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", "digits")


@pytest.fixture
def cpu():
    return torch.device("cpu")


@pytest.fixture
def gpu(request, monkeypatch):
    """A machine with a GPU that is not there (`pretend_gpu`): an A100's generation, or that of the parameter."""
    if not torch.backends.cuda.is_built():
        pytest.skip("torch without CUDA aborts on fake CUDA tensors")
    with pretended(monkeypatch, getattr(request, "param", (8, 0))) as gpu:
        yield gpu


@pytest.fixture
def tiny_run(tiny_suite):
    """Makes a training run of a few steps: tiny_run("dit", steps=5)."""

    def make(model, steps=5, seed=0):
        return training_run(tiny_suite, tiny_suite.contender(model), Selection(train_steps=steps), seed)

    return make
