import math

import pytest
import torch

from models.diffusion.denoiser import Prediction
from models.diffusion.sampling import SampleNoise, sample
from models.diffusion.schedule import data_from_velocity, noise_from_velocity
from models.diffusion.timesteps import make_schedule, select_timesteps
from models.process import OFFICIAL_DIT, PROCESS, Process


class Recorded:
    """A network that predicts a fixed noise and a fixed variance fraction."""

    def __init__(self, noise):
        self.noise = noise

    def predict(self, x, t, y, iterations, state=None):
        return Prediction(torch.cat([self.noise, 0.3 * torch.ones_like(self.noise)], dim=1), state="kept")


@pytest.mark.parametrize("t", [0, 1, 500, 998, 999])
def test_a_network_that_predicts_noise_becomes_one_that_predicts_v(t):
    torch.manual_seed(0)
    x0, noise = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    schedule, steps = OFFICIAL_DIT.noise_schedule(), torch.full((4,), t)
    x = schedule.add_noise(x0, noise, steps)
    found = OFFICIAL_DIT.denoiser(Recorded(noise)).predict(x, steps, steps, 1)
    v, abar = found.value[:, :3], schedule.abar(steps, x)
    assert found.state == "kept"
    assert torch.equal(found.value[:, 3:], torch.full_like(x, 0.3))
    torch.testing.assert_close(noise_from_velocity(x, v, abar), noise, rtol=0, atol=1e-5)
    # x itself is rounded, which its small part of the data feels
    rounding = 2e-7 * 4 / abar.sqrt().min().item()
    torch.testing.assert_close(data_from_velocity(x, v, abar), x0, rtol=0, atol=max(1e-5, rounding))


def test_ddim_of_a_noise_predictor_is_that_of_the_literature():
    """Song et al. 2021, Eq. 12 with sigma = 0, written out in float64 over the betas of Ho et al. 2020."""
    torch.manual_seed(1)

    class Network:
        def predict(self, x, t, y, iterations, state=None):
            return Prediction(torch.tanh(x) * (0.5 + t.reshape(-1, 1, 1, 1) / 2000))

    y, timesteps = torch.zeros(2, dtype=torch.int64), select_timesteps(20)
    noise = SampleNoise(0, range(2), (1, 4, 4))
    ours = sample(
        OFFICIAL_DIT.denoiser(Network()), OFFICIAL_DIT.noise_schedule(), make_schedule(timesteps, [0] * 20), y, noise,
        sampler="ddim",
    )  # fmt: skip
    abar, product = [], 1.0
    for i in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * i / 999)
        abar.append(product)
    x = SampleNoise(0, range(2), (1, 4, 4)).draw().double()
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        eps = torch.tanh(x) * (0.5 + t / 2000)
        now, then = abar[t], 1.0 if t_prev < 0 else abar[t_prev]
        x0 = (x - math.sqrt(1 - now) * eps) / math.sqrt(now)
        x = math.sqrt(then) * x0 + math.sqrt(1 - then) * eps
    torch.testing.assert_close(ours.x.double(), x, rtol=0, atol=2e-4 * x.abs().max().item())


def test_velocity_needs_no_wrapping():
    network = Recorded(None)
    assert PROCESS.denoiser(network) is network
    assert PROCESS.noise_schedule().alphas_cumprod[-1] == 0
    assert OFFICIAL_DIT.noise_schedule().alphas_cumprod[-1] > 0


def test_bad_processes():
    with pytest.raises(ValueError, match="unknown objective 'score': choose one of velocity, epsilon"):
        Process("score")
    with pytest.raises(ValueError, match="'epsilon' with zero terminal SNR"):
        Process("epsilon")
