"""The noise schedule, the conversions between x_0, noise and v, and the posterior of a step.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps                       forward process (paper, Sec. 3.3)
    v   = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0                       velocity (Salimans & Ho 2022)
    x_0 = sqrt(abar_t) x_t - sqrt(1 - abar_t) v
    eps = sqrt(1 - abar_t) x_t + sqrt(abar_t) v

A sampling step goes from t to t_prev, both explicit; t_prev = -1 is the data itself, abar = 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.diffusion.timesteps import TIMESTEPS


@dataclass(frozen=True)
class NoiseSchedule:
    """Cumulative products abar_t, (timesteps,), float64: from nearly 1 at t = 0 to 0 (with zero terminal SNR)."""

    alphas_cumprod: Tensor

    def abar(self, t: Tensor | int, like: Tensor) -> Tensor:
        """abar_t in float64; 1 for t = -1. For timesteps (batch,): shape (batch, 1, ...), on `like`'s device.

        For an int: a scalar on the CPU, which combines with tensors of any device without a copy.
        """
        table = torch.cat([self.alphas_cumprod, self.alphas_cumprod.new_ones(1)])  # the 1 is at index -1
        if isinstance(t, int):
            return table[t]
        return table.to(like.device)[t].reshape(-1, *[1] * (like.dim() - 1))

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
        """x_t from q(x_t | x_0) for given noise: (batch, ...), (batch, ...), (batch,) or an int -> (batch, ...)."""
        abar = self.abar(t, x0)
        return abar.sqrt().to(x0.dtype) * x0 + (1 - abar).sqrt().to(x0.dtype) * noise


def linear_schedule(
    timesteps: int = TIMESTEPS, beta_start: float = 1e-4, beta_end: float = 0.02, zero_terminal_snr: bool = True
) -> NoiseSchedule:
    """Linear betas (Ho et al. 2020), rescaled to zero terminal SNR (Lin et al. 2023, Algorithm 1)."""
    alphas_cumprod = torch.cumprod(1 - torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64), 0)
    if zero_terminal_snr:
        root = alphas_cumprod.sqrt()
        root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        alphas_cumprod = root**2
    return NoiseSchedule(alphas_cumprod)


def velocity(x0: Tensor, noise: Tensor, abar: Tensor) -> Tensor:
    """v from x_0 and eps; abar as `NoiseSchedule.abar` gives it."""
    return abar.sqrt().to(x0.dtype) * noise - (1 - abar).sqrt().to(x0.dtype) * x0


def data_from_velocity(x: Tensor, v: Tensor, abar: Tensor) -> Tensor:
    """x_0 from x_t and v."""
    return abar.sqrt().to(x.dtype) * x - (1 - abar).sqrt().to(x.dtype) * v


def noise_from_velocity(x: Tensor, v: Tensor, abar: Tensor) -> Tensor:
    """eps from x_t and v."""
    return (1 - abar).sqrt().to(x.dtype) * x + abar.sqrt().to(x.dtype) * v


@dataclass(frozen=True)
class Posterior:
    """q(x_prev | x_t, x_0) = N(coef_x0 x_0 + coef_x x_t, variance), with beta the one-step forward variance.

    Ho et al. 2020, Eqs. 6-7, for any pair t_prev < t. All float64, of abar's shape.
    """

    coef_x0: Tensor
    coef_x: Tensor
    variance: Tensor
    beta: Tensor

    def mean(self, x0: Tensor, x: Tensor) -> Tensor:
        return self.coef_x0.to(x.dtype) * x0 + self.coef_x.to(x.dtype) * x

    def log_variance(self, fraction: Tensor, floor: Tensor) -> Tensor:
        """Learned-range variance (Nichol & Dhariwal 2021, Eq. 15): from `variance` at -1 to `beta` at +1.

        `floor` replaces the posterior variance where it is zero, at the last step.
        """
        low = torch.maximum(self.variance, floor).log().to(fraction.dtype)
        weight = (fraction + 1) / 2
        return weight * self.beta.log().to(fraction.dtype) + (1 - weight) * low


def posterior(abar: Tensor, abar_prev: Tensor) -> Posterior:
    """The posterior of a step from abar to abar_prev > abar."""
    alpha = abar / abar_prev
    beta = 1 - alpha
    return Posterior(
        coef_x0=abar_prev.sqrt() * beta / (1 - abar),
        coef_x=alpha.sqrt() * (1 - abar_prev) / (1 - abar),
        variance=beta * (1 - abar_prev) / (1 - abar),
        beta=beta,
    )
