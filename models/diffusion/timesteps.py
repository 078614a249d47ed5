"""Which timesteps a sampler visits. Plain integers, so that grids can be enumerated without torch."""

TIMESTEPS = 1000  # of the forward process
SPACINGS = ("linspace", "trailing")


def select_timesteps(steps: int, spacing: str = "linspace", timesteps: int = TIMESTEPS) -> tuple[int, ...]:
    """`steps` timesteps, from the noisiest down.

    Args:
        steps: 1 to `timesteps`.
        spacing: "linspace", DiT's: evenly spaced and rounded, the first and the last timestep both included;
            one step alone takes the noisiest. "trailing" (Lin et al. 2023, Table 2): from the noisiest down in
            strides of timesteps / steps.

    Raises:
        ValueError: `steps` out of range or unknown spacing.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps must be 1 to {timesteps}, got {steps}")
    last = timesteps - 1
    if spacing == "linspace":
        return tuple(round(last - i * last / (steps - 1)) for i in range(steps)) if steps > 1 else (last,)
    if spacing == "trailing":
        return tuple(round(timesteps - i * timesteps / steps) - 1 for i in range(steps))
    raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
