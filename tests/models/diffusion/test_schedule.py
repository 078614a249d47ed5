import torch

from models.diffusion.schedule import (
    data_from_velocity,
    linear_schedule,
    noise_from_velocity,
    posterior,
    velocity,
)

SCHEDULE = linear_schedule()


def test_velocity_inverts():
    x0, noise = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)
    t = torch.tensor([0, 10, 500, 999])
    x, abar = SCHEDULE.add_noise(x0, noise, t), SCHEDULE.abar(t, x0)
    v = velocity(x0, noise, abar)
    torch.testing.assert_close(data_from_velocity(x, v, abar), x0, rtol=0, atol=1e-5)
    torch.testing.assert_close(noise_from_velocity(x, v, abar), noise, rtol=0, atol=1e-5)


def test_terminal_step_has_no_signal():
    assert SCHEDULE.alphas_cumprod[-1] == 0
    assert SCHEDULE.abar(-1, torch.zeros(1)) == 1
    assert (SCHEDULE.alphas_cumprod.diff() < 0).all()


def test_posterior_matches_bayes():
    """Mean and variance of x_prev given x_t and x0, from the joint Gaussian of the forward process."""
    abar, abar_prev = SCHEDULE.alphas_cumprod[600], SCHEDULE.alphas_cumprod[400]
    alpha = abar / abar_prev
    precision = alpha / (1 - alpha) + 1 / (1 - abar_prev)
    q = posterior(abar, abar_prev)
    torch.testing.assert_close(q.variance, 1 / precision)
    torch.testing.assert_close(q.coef_x, alpha.sqrt() / (1 - alpha) / precision)
    torch.testing.assert_close(q.coef_x0, abar_prev.sqrt() / (1 - abar_prev) / precision)
