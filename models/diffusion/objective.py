"""The training objective: v-prediction (Salimans & Ho 2022) and learned variance (Nichol & Dhariwal 2021, Sec. 3.1).

    loss = w(t) ||v_hat - v||^2 + L_vb(t)

L_vb is one term of the variational bound in bits per dimension. Its mean is detached, so it trains only the variance.
Weight 1 on one of 1000 terms equals improved DDPM's lambda = 0.001 on their sum; DiT trains with the same weight.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.diffusion.schedule import NoiseSchedule, data_from_velocity, posterior, velocity

WEIGHTINGS = ("v", "released")


@dataclass(frozen=True)
class Loss:
    """Per-sample losses, (batch,): `total` = `mse` + `vb` (`vb` is 0 without a learned variance)."""

    total: Tensor
    mse: Tensor
    vb: Tensor


def diffusion_loss(
    schedule: NoiseSchedule,
    prediction: Tensor,
    x0: Tensor,
    x: Tensor,
    noise: Tensor,
    t: Tensor,
    weighting: str = "v",
) -> Loss:
    """The loss of a prediction at x = add_noise(x0, noise, t).

    Args:
        prediction: (batch, channels or 2 channels, ...): v_hat, then the variance fraction in -1..1 if learned.
        x0, x, noise: (batch, channels, ...).
        t: (batch,).
        weighting: "v": plain MSE on v. "released": as the released FPDM code, MSE on x0 with weight
            abar / sqrt(1 - abar), which is zero at the terminal step.

    Raises:
        ValueError: unknown weighting.
    """
    channels = x0.shape[1]
    prediction = prediction.float()
    v_hat = prediction[:, :channels]
    abar = schedule.abar(t, x0)
    if weighting == "v":
        mse = (v_hat - velocity(x0, noise, abar)).square().flatten(1).mean(1)
    elif weighting == "released":
        error = (data_from_velocity(x, v_hat, abar) - x0).square().flatten(1).mean(1)
        mse = (abar / (1 - abar).sqrt()).flatten().to(x0.dtype) * error
    else:
        raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, got {weighting!r}")
    if prediction.shape[1] == channels:
        return Loss(mse, mse, torch.zeros_like(mse))
    vb = variational_bound(schedule, v_hat.detach(), prediction[:, channels:], x0, x, t)
    return Loss(mse + vb, mse, vb)


def variational_bound(
    schedule: NoiseSchedule, v_hat: Tensor, fraction: Tensor, x0: Tensor, x: Tensor, t: Tensor
) -> Tensor:
    """One term of the variational bound per sample, in bits per dimension: (batch, channels, ...) -> (batch,).

    KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) for t > 0; at t = 0 the negative log-likelihood of x_0, in -1..1,
    under a Gaussian discretised to 256 levels (Ho et al. 2020, Eqs. 5 and 13).
    """
    abar, abar_prev = schedule.abar(t, x0), schedule.abar(t - 1, x0)
    q = posterior(abar, abar_prev)
    first = schedule.alphas_cumprod[:2].to(x0.device)
    floor = posterior(first[1], first[0]).variance  # replaces the zero variance at t = 0
    log_variance = q.log_variance(fraction, floor)
    mean = q.mean(data_from_velocity(x, v_hat, abar), x)
    true_log_variance = torch.maximum(q.variance, floor).log().to(x0.dtype)
    kl = 0.5 * (
        log_variance
        - true_log_variance
        + (true_log_variance - log_variance).exp()
        + (q.mean(x0, x) - mean).square() * (-log_variance).exp()
        - 1
    )
    likelihood = -discretized_gaussian_log_likelihood(x0, mean, 0.5 * log_variance)
    term = torch.where((t == 0).reshape(-1, *[1] * (x0.dim() - 1)), likelihood, kl)
    return term.flatten(1).mean(1) / math.log(2.0)


def discretized_gaussian_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log-probability of the 8-bit bin around x in -1..1 (Ho et al. 2020, Eq. 13), elementwise.

    The Gaussian's distribution function is approximated with a tanh, as in the official DiT.
    """
    centred, inverse = x - mean, (-log_scale).exp()
    upper = _normal_cdf(inverse * (centred + 1 / 255))
    lower = _normal_cdf(inverse * (centred - 1 / 255))
    tiny = 1e-12
    inside = torch.log((upper - lower).clamp_min(tiny))
    left = torch.log(upper.clamp_min(tiny))
    right = torch.log((1 - lower).clamp_min(tiny))
    return torch.where(x < -0.999, left, torch.where(x > 0.999, right, inside))


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3))))
