"""Interface between the evaluator and the kinds of measurement.

A new kind needs a cell class in `bench.spec.measurements`, and a class in `bench.evaluation` or `bench.profiling` that
measures it. The cell names this class in `measured_by`.
"""

from typing import Any, Protocol

from bench.sampling.sampler import CellSampler
from bench.sampling.setting import Setting
from bench.spec.cells import Cell
from bench.spec.measurements import AnyCell


class StoppedError(Exception):
    """The evaluation was asked to stop. Finished batches are kept, and the cell can go on later."""


class Kind(Protocol):
    """A kind of measurement: the class that a cell's `measured_by` names, made once and kept between cells."""

    def __init__(self, setting: Setting, sampler: CellSampler) -> None: ...

    def skip(self, cell: Any) -> str:
        """Why the cell cannot be measured on this machine; empty if it can."""

    def measure(self, cell: Any, inputs: "Inputs") -> dict[str, Any]:
        """Metrics, cost, series, timing and samples_digest of the cell's record, as far as the kind has them.

        Raises:
            BadInputError: an input is missing, or is not the one of the cell's identity.
            DivergedError: samples or metrics are not finite.
            StoppedError: the evaluation was asked to stop.
        """


class Inputs:
    """Inputs of a cell's evaluation.

    Attributes:
        training: summary of the training behind the weights; None without one.
        digests: digests of checkpoint, reference, extractor and, in a latent suite, latents and autoencoder; of a
            second extractor and its reference, if there is one.
    """

    def __init__(self, cell: AnyCell, training: dict[str, Any] | None, checkpoint_digest: str) -> None:
        self.training = training
        self.digests: dict[str, str] = {}
        if isinstance(cell, Cell):
            protocol = cell.protocol
            self.digests = {
                "checkpoint": checkpoint_digest,
                "reference": protocol.reference_digest,
                "extractor": protocol.extractor_digest,
            }
            if second := protocol.second:
                self.digests |= {
                    "second_reference": second.reference_digest,
                    "second_extractor": second.extractor_digest,
                }
            if training is not None and "images" in training:
                self.digests |= {name: training[name] for name in ("data", "images", "vae")}

    @property
    def autoencoder(self) -> str | None:
        """Digest of the autoencoder that the training's latents came from, if it is known."""
        return (self.training or {}).get("vae")
