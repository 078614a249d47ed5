"""How training runs the implicit layer (paper, Sec. 3.4 and Algorithm 1).

Each policy draws, for a training step, an `Unroll(n, m)`: n iterations that build no graph, then m through which the
gradient flows. The state between the two is always detached, n = 0 included: the fixed point does not depend on where
the iteration starts, so no gradient is owed to it.

    JFB                 n = N,           m = 1
    multi-step JFB      n = N,           m = M
    stochastic JFB      n ~ U{0..N},     m ~ U{1..M}

The draw is keyed by (seed, step), hence the same on every rank: ranks that drew for themselves would wait for the
slowest draw at each step.
"""

import random
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.diffusion.randomness import key
from models.fixed_point.solvers import FixedCount, Function, Solution


@dataclass(frozen=True)
class Unroll:
    """A solver for training: `without_grad` iterations, a detach, `with_grad` iterations."""

    without_grad: int
    with_grad: int

    def __post_init__(self) -> None:
        if self.without_grad < 0 or self.with_grad < 1:
            raise ValueError(f"need without_grad >= 0 and with_grad >= 1, got {self}")

    def __call__(self, f: Function, z0: Tensor) -> Solution:
        with torch.no_grad():
            start = FixedCount(self.without_grad)(f, z0).z
        # Autocast keeps the low-precision weights it made without a graph, and would use them below: no gradients then.
        if self.without_grad:
            torch.clear_autocast_cache()
        solution = FixedCount(self.with_grad)(f, start.detach())
        return Solution(solution.z, solution.evaluations + self.without_grad, None, solution.status)


class UnrollPolicy(Protocol):
    """Draws how one training step unrolls the implicit layer."""

    def draw(self, seed: int, step: int) -> Unroll: ...


@dataclass(frozen=True)
class JFB:
    """Jacobian-free backpropagation, the 1-step gradient (Fung et al. 2022): n = N, m = 1."""

    n: int

    def draw(self, seed: int, step: int) -> Unroll:
        return Unroll(self.n, 1)


@dataclass(frozen=True)
class MultiStepJFB:
    """Multi-step JFB: n = N, m = M."""

    n: int
    m: int

    def draw(self, seed: int, step: int) -> Unroll:
        return Unroll(self.n, self.m)


@dataclass(frozen=True)
class StochasticJFB:
    """Stochastic JFB, the paper's method: n ~ U{0..N}, m ~ U{1..M}, inclusive (Algorithm 1)."""

    n_max: int
    m_max: int

    def draw(self, seed: int, step: int) -> Unroll:
        rng = random.Random(key(seed, "unroll", step))
        return Unroll(rng.randint(0, self.n_max), rng.randint(1, self.m_max))


def make_policy(name: str, n: int, m: int) -> UnrollPolicy:
    """The policy called "jfb", "multi-step" or "stochastic", with N and M. ValueError for another name."""
    match name:
        case "jfb":
            return JFB(n)
        case "multi-step":
            return MultiStepJFB(n, m)
        case "stochastic":
            return StochasticJFB(n, m)
    raise ValueError(f"unroll must be jfb, multi-step or stochastic, got {name!r}")
