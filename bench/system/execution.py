"""How networks are run. It changes what they compute by rounding at most, but also how long that takes and in how much
memory.

Hence no part of a cell's or run's identity, but of what a record and a training summary say of their environment.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Execution:
    """Options of running a network.

    Attributes:
        compiled: blocks and iterations are compiled (`models.networks.compiled`).
        grad_checkpointing: training recomputes them in backward instead of keeping what they computed.
        micro_batch: images that a training step takes at once, gradients accumulated; None for as many as fit.
    """

    compiled: bool = False
    grad_checkpointing: bool = False
    micro_batch: int | None = None

    def __str__(self) -> str:
        words = {"compiled": self.compiled, "checkpointing": self.grad_checkpointing}
        words[f"micro-batch {self.micro_batch}"] = self.micro_batch is not None
        return ", ".join(word for word, chosen in words.items() if chosen)

    def on(self, hardware: str) -> str:
        """The hardware and how it is used: seconds of different ones do not add up."""
        return f"{hardware}, {self}" if str(self) else hardware


EAGER = Execution()
