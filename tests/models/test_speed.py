"""Benchmarks at digits size, side by side: pytest --benchmark-only (`make bench`). Nothing here asserts a time.

"plain" is the same arithmetic without what this project saves: the injection's two halves and the modulation computed
at every iteration, matrix products by torch's default library, Python loops over parameters for optimizer and EMA.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.suites import get_suite
from models.fpdm import ImplicitLayer
from models.linear import TokenLinear
from models.objective import diffusion_loss
from models.schedule import linear_schedule
from models.unroll import StochasticJFB
from models.zoo import build

SUITE = get_suite("digits")
SCHEDULE = linear_schedule()


def plain_bind(self, x_pre, condition):
    def f(z):
        joined = torch.cat([z, self.injection(x_pre)], dim=-1)
        hidden = F.gelu(self.proj_fc1(joined), approximate="tanh")
        return self.block(self.proj_fc2(hidden), self.block.modulation(condition))

    return f


def make_training_step(kind, plain):
    torch.manual_seed(0)
    model = build(SUITE.model(kind)).train()
    parameters = list(model.parameters())
    average = [p.detach().clone() for p in parameters]
    options = {"foreach": False} if plain else {"fused": True}
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, **options)
    policy = StochasticJFB(6, 6)
    x0, noise = torch.randn(128, 1, 8, 8), torch.randn(128, 1, 8, 8)
    t, y = torch.randint(0, 1000, (128,)), torch.randint(0, 11, (128,))
    x = SCHEDULE.add_noise(x0, noise, t)
    steps = iter(range(10**6))

    def step():
        prediction, _ = model.predict(x, t, y, policy.draw(0, next(steps) % 42))
        diffusion_loss(SCHEDULE, prediction, x0, x, noise, t).total.mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            if plain:
                for a, p in zip(average, parameters, strict=True):
                    a.lerp_(p, 0.001)
            else:
                torch._foreach_lerp_(average, parameters, 0.001)

    return step


@pytest.mark.benchmark(group="training step, batch 128")
@pytest.mark.parametrize("plain", [False, True], ids=["ours", "plain"])
@pytest.mark.parametrize("kind", ["dit", "fpdm"])
def test_training_step(benchmark, kind, plain, monkeypatch):
    if plain:
        monkeypatch.setattr(ImplicitLayer, "bind", plain_bind)
        monkeypatch.setattr(TokenLinear, "forward", nn.Linear.forward)
    rounds = 42 if kind == "fpdm" else 12  # the same 42 draws of (n, m) for both
    benchmark.pedantic(make_training_step(kind, plain), rounds=rounds, warmup_rounds=2)


@pytest.mark.benchmark(group="280 block passes, batch 125")
@pytest.mark.parametrize(("kind", "iterations", "steps"), [("dit", 26, 10), ("fpdm", 1, 93), ("fpdm", 26, 10)])
def test_sampling(benchmark, kind, iterations, steps):
    model = build(SUITE.model(kind)).eval()
    x, t = torch.randn(125, 1, 8, 8), torch.zeros(125, dtype=torch.long)

    def run():
        with torch.inference_mode():
            state = None
            for _ in range(steps):
                _, state = model.predict(x, t, t, iterations, state)

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
