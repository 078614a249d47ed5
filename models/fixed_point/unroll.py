"""Unrolled fixed-point iteration for training (paper, Sec. 3.4 and Algorithm 1).

For each training step a policy draws an `Unroll(n, m)`: n iterations without a graph, then m iterations through which
the gradient flows. The state between the two is always detached, even if n = 0: the fixed point does not depend on
where the iteration starts, so the start gets no gradient. A loop without an injection has no other way to its input:
with `through_start` the start gets the gradient of the detached state, as if the n iterations were the identity.

    JFB                 n = N,           m = 1
    multi-step JFB      n = N,           m = M
    stochastic JFB      n ~ U{0..N},     m ~ U{1..M}

The draw is keyed by (seed, step), so it is the same on every rank. If each rank drew its own (n, m), every step would
take as long as the largest draw.
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
    """A solver for training: `without_grad` iterations, a detach, `with_grad` iterations.

    `through_start`: whether the start gets the gradient of the detached state.
    """

    without_grad: int
    with_grad: int
    through_start: bool = False

    def __post_init__(self) -> None:
        if self.without_grad < 0 or self.with_grad < 1:
            raise ValueError(f"need without_grad >= 0 and with_grad >= 1, got {self}")

    def __call__(self, f: Function, z0: Tensor) -> Solution:
        with torch.no_grad():
            start = FixedCount(self.without_grad)(f, z0).z
        # Autocast caches the 16-bit weights that it made without a graph. Used below, they would get no gradients.
        if self.without_grad:
            torch.clear_autocast_cache()
        start = start.detach()
        if self.through_start:
            start = start + (z0 - z0.detach())
        solution = FixedCount(self.with_grad)(f, start)
        executed = self.without_grad + self.with_grad
        return Solution(solution.z, solution.evaluations + self.without_grad, None, solution.status, executed)


class UnrollPolicy(Protocol):
    """Draws the number of iterations, without and with gradient, of one training step."""

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
    """The policy "jfb" (which ignores m), "multi-step" or "stochastic" with N = n and M = m.

    Raises:
        ValueError: unknown name.
    """
    match name:
        case "jfb":
            return JFB(n)
        case "multi-step":
            return MultiStepJFB(n, m)
        case "stochastic":
            return StochasticJFB(n, m)
    raise ValueError(f"unroll must be one of jfb, multi-step, stochastic, got {name!r}")
