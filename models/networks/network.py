"""The base class of all networks: `predict`, gradient checkpointing and timed parts."""

import warnings
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

    iterations = 0  # of a forward pass where none are given; 0 for networks that do not iterate

    def chosen(self, iterations: int | Solver | None) -> int | Solver:
        """The iterations of a forward pass: those that were asked for, or with a warning the configuration's."""
        if iterations is not None:
            return iterations
        name = type(self).__name__
        warnings.warn(
            f"{name} runs {self.iterations} iterations: its configuration's, as none were given", stacklevel=5
        )
        return self.iterations

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
