"""A denoiser that is exact for Gaussian data, and where the probability-flow ODE takes noise then."""

import torch

from models.diffusion.denoiser import Prediction
from models.diffusion.sampling import SampleNoise
from models.diffusion.schedule import linear_schedule

MEAN, DEVIATION = 0.3, 0.5
SHAPE = (2, 4, 4)
SCHEDULE = linear_schedule()


class GaussianOracle:
    """E[v | x_t] for data drawn from N(MEAN, DEVIATION^2), with variance channels that nothing may read."""

    def __init__(self, noise_schedule=SCHEDULE):
        self.noise_schedule, self.timesteps, self.iterations = noise_schedule, [], []

    def predict(self, x, t, y, iterations, state=None):
        self.timesteps.append(int(t[0]))
        self.iterations.append(iterations)
        abar = self.noise_schedule.abar(t, x)
        score = (x - abar.sqrt() * MEAN) / (abar * DEVIATION**2 + 1 - abar)  # minus the score of the marginal
        x0, noise = MEAN + abar.sqrt() * DEVIATION**2 * score, (1 - abar).sqrt() * score
        v = (abar.sqrt() * noise - (1 - abar).sqrt() * x0).float()
        return Prediction(torch.cat([v, torch.full_like(v, torch.nan)], 1))


def flow(x, t, t_end, noise_schedule=SCHEDULE):
    """Where the ODE takes x from timestep t: each marginal is Gaussian, so in float64 by its mean and deviation."""
    x = x.double()
    abar, abar_end = (noise_schedule.abar(one, x) for one in (t, t_end))
    standard = (x - abar.sqrt() * MEAN) / (abar * DEVIATION**2 + 1 - abar).sqrt()
    return abar_end.sqrt() * MEAN + (abar_end * DEVIATION**2 + 1 - abar_end).sqrt() * standard


def noise(indices=range(6)):
    return SampleNoise(0, indices, SHAPE)
