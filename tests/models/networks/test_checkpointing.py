"""Gradients with activation checkpointing are those without, to the bit."""

import pytest
import torch
from random_networks import random_network

from models.fixed_point.unroll import JFB, MultiStepJFB, StochasticJFB, Unroll
from models.networks.blocks import DiTBlock
from models.networks.checkpointing import recomputed

DRAWN = {StochasticJFB(5, 5).draw(1, step): None for step in range(4)}  # each once
UNROLLS = [
    ("dit", None),
    ("fpdm", JFB(3).draw(0, 0)),
    ("fpdm", MultiStepJFB(0, 4).draw(0, 0)),
    ("fpdm", MultiStepJFB(2, 3).draw(0, 0)),
    *((kind, unroll) for unroll in DRAWN for kind in ("fpdm", "looped")),
]


def gradients(model, unroll, dtype, batch):
    """Prediction, and the gradient of each parameter."""
    rng = torch.Generator().manual_seed(1)
    x, t, y = torch.randn(batch, 1, 8, 8, generator=rng), torch.arange(batch) * 9, torch.arange(batch) % 10
    model.zero_grad()
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        prediction = model.predict(x, t, y, unroll).value
    prediction.float().square().sum().backward()
    return prediction.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize(("dtype", "batch"), [(None, 3), (torch.bfloat16, 3)], ids=str)
@pytest.mark.parametrize(("kind", "unroll"), UNROLLS, ids=str)
def test_identical_gradients(kind, unroll, dtype, batch):
    model = random_network(kind)
    prediction, expected = gradients(model, unroll, dtype, batch)
    model.set_grad_checkpointing()
    again, found = gradients(model, unroll, dtype, batch)
    assert torch.equal(again, prediction)
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0, name
        assert torch.equal(found[name], gradient), name
    model.set_grad_checkpointing(enable=False)
    _, off = gradients(model, unroll, dtype, batch)
    assert all(torch.equal(off[name], gradient) for name, gradient in expected.items())


@pytest.mark.parametrize(
    ("kind", "once", "twice"),
    # DiT: 4 blocks. FPDM: pre, post and 3 iterations with gradient are run again, 2 without are not
    [("dit", 4, 8), ("fpdm", 2 + 2 + 3, 2 + 2 * 5), ("looped", 2 + 2 + 3, 2 + 2 * 5)],
)
def test_every_block_and_iteration_runs_twice(kind, once, twice, monkeypatch):
    calls = 0
    forward = DiTBlock.forward

    def counted(self, *arguments):
        nonlocal calls
        calls += 1
        return forward(self, *arguments)

    monkeypatch.setattr(DiTBlock, "forward", counted)
    model = random_network(kind)
    for enable, expected in ((False, once), (True, twice)):
        model.set_grad_checkpointing(enable)
        calls = 0
        gradients(model, Unroll(2, 3), None, 3)
        assert calls == expected


def test_sampling_and_training_off_pay_nothing(monkeypatch):
    """Without a graph, or when it is off, torch's checkpoint is never called."""

    def forbidden(*arguments, **options):
        raise AssertionError("called")

    monkeypatch.setattr("models.networks.checkpointing.checkpoint", forbidden)
    for kind in ("dit", "fpdm", "looped"):
        model = random_network(kind)
        gradients(model, Unroll(1, 2), None, 3)
        model.set_grad_checkpointing()
        with torch.inference_mode():
            model.predict(torch.zeros(2, 1, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.int64), 3)
        with pytest.raises(AssertionError, match="called"):
            gradients(model, Unroll(1, 2), None, 3)


def test_recomputed_keeps_the_inputs_only():
    """sin(exp(x)) keeps exp's result; recomputed, it keeps x, and computes it when backward comes."""
    seen = []

    def function(x):
        seen.append(torch.is_grad_enabled())
        return x.exp().sin()

    kept = []
    x = torch.tensor([0.5, 2.0], requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda v: kept.append(v) or v, lambda v: v):
        y = recomputed(function, x)
    assert [torch.equal(v, x) for v in kept if v.numel()] == [True]
    y.sum().backward()
    torch.testing.assert_close(x.grad, x.detach().exp() * x.detach().exp().cos())
    assert seen == [True, True]
