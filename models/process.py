"""What a network predicts, and of which noise: plain data, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.diffusion.timesteps import TIMESTEPS

if TYPE_CHECKING:
    from models.diffusion.denoiser import Denoiser
    from models.diffusion.schedule import NoiseSchedule

OBJECTIVES = ("velocity", "epsilon")


@dataclass(frozen=True)
class Process:
    """The diffusion process of a trained network. The default is this project's.

    Attributes:
        objective: what the network predicts, "velocity" or "epsilon" (the noise).
        beta_start, beta_end: first and last of the linear betas.
        zero_terminal_snr: whether the betas are rescaled so that the last timestep is pure noise.

    Raises:
        ValueError: unknown objective, or noise is predicted where the input is nothing but noise.
    """

    objective: str = "velocity"
    beta_start: float = 1e-4
    beta_end: float = 0.02
    zero_terminal_snr: bool = True

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"unknown objective {self.objective!r}: choose one of {', '.join(OBJECTIVES)}")
        if self.objective == "epsilon" and self.zero_terminal_snr:
            raise ValueError("objective 'epsilon' with zero terminal SNR: noise does not tell the data from pure noise")

    def noise_schedule(self) -> NoiseSchedule:
        """abar of its timesteps."""
        from models.diffusion.schedule import linear_schedule

        return linear_schedule(TIMESTEPS, self.beta_start, self.beta_end, self.zero_terminal_snr)

    def denoiser(self, network: Denoiser) -> Denoiser:
        """The network as one that predicts v: itself, or wrapped."""
        from models.diffusion.denoiser import FromNoise

        return network if self.objective == "velocity" else FromNoise(network, self.noise_schedule())


PROCESS = Process()
OFFICIAL_DIT = Process("epsilon", zero_terminal_snr=False)  # Peebles & Xie 2023
