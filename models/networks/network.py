"""The base class of all networks: `predict`, gradient checkpointing and timed parts."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from models.diffusion.denoiser import Prediction
from models.fixed_point.solvers import Solver


class Network(nn.Module):
    """A network of a family. Subclasses implement `predict` and, if parts of them are to be timed, `timed_parts`."""

    def predict(self, x: Tensor, t: Tensor, y: Tensor, iterations: int | Solver, state: Any = None) -> Prediction:
        """See `Denoiser.predict`."""
        raise NotImplementedError

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Have training recompute activations in backward instead of keeping them (timm's convention).

        Every module that can do so has an attribute `grad_checkpointing`.
        """
        for module in self.modules():
            if hasattr(module, "grad_checkpointing"):
                module.grad_checkpointing = enable  # type: ignore[assignment]

    def timed_parts(self, tokens: Tensor, condition: Tensor) -> dict[str, Callable[[], object]]:
        """Parts whose seconds are measured by themselves, by the names that `Family.parts` counts.

        Args:
            tokens: (batch, tokens, hidden).
            condition: (batch, hidden).
        """
        return {}
