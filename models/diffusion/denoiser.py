"""The interface that samplers and trainers call; networks inherit it from `models.networks.network.Network`."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from models.diffusion.schedule import NoiseSchedule, velocity
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


class FromNoise:
    """A network that predicts the noise eps, as a denoiser that predicts v.

        x_0 = (x_t - sqrt(1 - abar) eps) / sqrt(abar)          v = sqrt(abar) eps - sqrt(1 - abar) x_0

    In float64, because x_0 is a small difference of large numbers at high noise. A learned variance stays as it is.

    Args:
        network: predicts eps, then the variance fraction if it is learned.
        noise_schedule: of its training; abar > 0 at every timestep.
    """

    def __init__(self, network: Denoiser, noise_schedule: NoiseSchedule) -> None:
        self._network, self._noise_schedule = network, noise_schedule

    def predict(self, x: Tensor, t: Tensor, y: Tensor, iterations: int | Solver, state: Any = None) -> Prediction:
        """As `Denoiser.predict`."""
        output = self._network.predict(x, t, y, iterations, state)
        channels, abar = x.shape[1], self._noise_schedule.abar(t, x)
        noise = output.value[:, :channels].double()
        x0 = (x.double() - (1 - abar).sqrt() * noise) / abar.sqrt()
        v = velocity(x0, noise, abar).to(output.value.dtype)
        return replace(output, value=torch.cat([v, output.value[:, channels:]], dim=1))
