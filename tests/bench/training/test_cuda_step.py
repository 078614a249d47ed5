"""Training on a GPU that is not there: every family, in fp16 and bf16, from the first step to a resumed run."""

import pytest
import torch
from each_family import TRAINED
from pretend_gpu import CUDA

from bench.machine.execution import EAGER, Execution
from bench.training import checkpoints
from bench.training.turns import train_together
from models.fixed_point.unroll import Unroll

V100, A100 = (7, 0), (8, 0)
DTYPES = {V100: torch.float16, A100: torch.bfloat16}
MEMORY_SAVED = Execution(grad_checkpointing=True, micro_batch=9)  # 9 + 7 of 16


def parts_of(model):
    """The dtypes of the weights and averages in a checkpoint."""
    return {tensor.dtype for tensors in (model.ema, model.state) for tensor in tensors.values()}


@pytest.mark.parametrize(
    ("gpu", "execution"), [(V100, MEMORY_SAVED), (A100, EAGER)], indirect=["gpu"], ids=["fp16, memory saved", "bf16"]
)
@pytest.mark.parametrize("model", TRAINED)
def test_a_run_trains_ends_and_is_continued(model, gpu, execution, tiny_run, store, monkeypatch):
    low = DTYPES[torch.cuda.get_device_capability()]
    short, long = tiny_run(model, steps=1), tiny_run(model, steps=2)
    # so that every part runs: an iteration without gradient too
    monkeypatch.setattr("models.fixed_point.unroll.StochasticJFB.draw", lambda self, seed, step: Unroll(1, 2))
    train_together([short, long], store, CUDA, execution)
    summary = store.read_training(long)
    assert (summary["status"], summary["step"], summary["continues"]) == ("done", 2, short.name)
    assert summary["micro_batch"] == (execution.micro_batch or 16)
    assert summary["environment"]["hardware"] == "pretended GPU"
    assert low in gpu.seen["addmm"] | gpu.seen["mm"]
    assert gpu.seen["_scaled_dot_product_efficient_attention"] == {low}
    saved, _ = checkpoints.load(store.checkpoint_folder(long), long)
    assert parts_of(saved) == {torch.float32}
    assert bool(saved.extra["scaler"]) == (low is torch.float16)
