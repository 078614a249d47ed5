"""The diffusion process: noise schedule, objective, samplers, allocation of iterations, keyed randomness.

Read `schedule`, `denoiser` and `sampling` first. `timesteps`, `allocation` and `samplers` load no torch.
"""
