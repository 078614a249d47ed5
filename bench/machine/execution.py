"""How networks are run: compiled, with gradient checkpointing, in micro-batches.

These options change seconds and memory, but results only by rounding. Hence they are not part of the identity of a
cell or run; records and training summaries state them.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Execution:
    """Options of running a network.

    Attributes:
        compiled: blocks and iterations are compiled (`models.networks.compiled`); None where it pays
            (`bench.machine.compiler.settled`).
        grad_checkpointing: training recomputes blocks and iterations in backward instead of keeping activations.
        micro_batch: images per forward and backward of a training step, gradients accumulated; None for as many as fit.
    """

    compiled: bool | None = False
    grad_checkpointing: bool = False
    micro_batch: int | None = None

    def __str__(self) -> str:
        words = {"compiled": bool(self.compiled), "checkpointing": self.grad_checkpointing}
        words[f"micro-batch {self.micro_batch}"] = self.micro_batch is not None
        return ", ".join(word for word, chosen in words.items() if chosen)

    def on(self, hardware: str) -> str:
        """The hardware with these options, as text. Seconds are added up only where the texts are equal.

        The micro-batch is left out: memory decides it, also without the option.
        """
        options = str(replace(self, micro_batch=None))
        return f"{hardware}, {options}" if options else hardware


EAGER = Execution()
