import pytest
import torch

from models.networks import linear


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("tokens", [16, 17, 12])
def test_token_linear_equals_linear_with_its_gradients(tokens, threads, monkeypatch):
    monkeypatch.setattr(linear, "_WORTHWHILE_ROWS", 0)
    monkeypatch.setattr(linear, "_WORTHWHILE_MACS", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    x, weight, bias = torch.randn(16, tokens, 32), torch.randn(48, 64)[:, ::2], torch.randn(48)
    results = []
    for multiply in (linear.token_linear, torch.nn.functional.linear):
        leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
        out = multiply(*leaves)
        with torch.no_grad():
            without = multiply(x, weight, None)
        results.append([out, *torch.autograd.grad(out.square().sum(), leaves), without])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_token_linear_gives_gradients_to_whoever_wants_them(monkeypatch):
    """The operator without a derivative must not be taken where only one of its inputs wants a gradient."""
    monkeypatch.setattr(linear, "_WORTHWHILE_ROWS", 0)
    monkeypatch.setattr(linear, "_WORTHWHILE_MACS", 0)
    for wanting in range(3):
        tensors = [torch.randn(2, 16, 32), torch.randn(48, 32), torch.randn(48)]
        tensors[wanting].requires_grad_()
        linear.token_linear(*tensors).sum().backward()
        assert tensors[wanting].grad.abs().sum() > 0
