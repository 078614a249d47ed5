import torch

from models.diffusion.objective import diffusion_loss
from models.diffusion.schedule import linear_schedule, velocity

SCHEDULE = linear_schedule()


def test_loss_is_zero_mse_for_the_true_velocity_and_the_bound_trains_the_variance_alone():
    x0, eps, t = torch.rand(3, 1, 4, 4) - 0.5, torch.randn(3, 1, 4, 4), torch.tensor([1, 400, 999])
    x = SCHEDULE.add_noise(x0, eps, t)
    v = velocity(x0, eps, SCHEDULE.abar(t, x0)).requires_grad_()
    fraction = torch.zeros_like(v).requires_grad_()
    loss = diffusion_loss(SCHEDULE, torch.cat([v, fraction], 1), x0, x, eps, t)
    assert loss.mse.abs().max() < 1e-10
    loss.vb.sum().backward(retain_graph=True)
    assert v.grad is None or v.grad.abs().max() == 0
    assert fraction.grad.abs().max() > 0
    released = diffusion_loss(SCHEDULE, torch.cat([v + 1, fraction], 1), x0, x, eps, t, weighting="released")
    assert released.mse[2] == 0  # the released weighting vanishes at the terminal step
    assert (released.mse[:2] > 0).all()
