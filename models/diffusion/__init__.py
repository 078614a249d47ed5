"""The diffusion process: noise schedule, timesteps, objective, samplers, allocation of iterations, keyed randomness."""
