"""Updates of one sampling step, from x_t and the network's prediction to x_prev: DDPM and DDIM."""

from collections.abc import Callable

import torch
from torch import Tensor

from models.diffusion.schedule import data_from_velocity, noise_from_velocity, posterior

# (x, prediction, abar, abar_prev, draw noise) -> x_prev; x is float32, (batch, channels, size, size)
Update = Callable[[Tensor, Tensor, Tensor, Tensor, Callable[[], Tensor]], Tensor]


def ddpm_update(x: Tensor, prediction: Tensor, abar: Tensor, abar_prev: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """Ancestral step (Ho et al. 2020, Algorithm 2) with learned-range variance, or beta if none was predicted."""
    channels = x.shape[1]
    step = posterior(abar, abar_prev)
    mean = step.mean(data_from_velocity(x, prediction[:, :channels], abar), x)
    if abar_prev == 1:
        return mean  # the last step: no noise is added to data
    if prediction.shape[1] == channels:
        deviation = step.beta.sqrt().to(x.dtype)
    else:
        deviation = (0.5 * step.log_variance(prediction[:, channels:], torch.zeros_like(abar))).exp()
    return mean + deviation * draw()


def ddim_update(x: Tensor, prediction: Tensor, abar: Tensor, abar_prev: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """Deterministic step (Song et al. 2021, Eq. 12 with sigma = 0)."""
    v = prediction[:, : x.shape[1]]
    x0, noise = data_from_velocity(x, v, abar), noise_from_velocity(x, v, abar)
    return abar_prev.sqrt().to(x.dtype) * x0 + (1 - abar_prev).sqrt().to(x.dtype) * noise
