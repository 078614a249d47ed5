"""The interface that samplers and trainers call; networks inherit it from `models.networks.network.Network`."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from models.fixed_point.solvers import Solution, Solver


@dataclass(frozen=True)
class Prediction:
    """The output of a denoiser.

    Attributes:
        value: (batch, channels or 2 channels, size, size): velocity, then the variance fraction if it is learned.
        state: what the next step may start from. Only the network knows what it is; None if it has no state.
        solution: the iterations that the network ran, or None if it has none.
    """

    value: Tensor
    state: Any = None
    solution: Solution | None = None


class Denoiser(Protocol):
    """A network that predicts the velocity v of noisy images."""

    def predict(self, x: Tensor, t: Tensor, y: Tensor, iterations: int | Solver, state: Any = None) -> Prediction:
        """Predict.

        Args:
            x: noisy images, (batch, channels, size, size).
            t, y: timesteps and labels, (batch,).
            iterations: a number of iterations or a solver. Networks without iterations ignore it.
            state: `Prediction.state` of the previous step, or None to start afresh.
        """
        ...
