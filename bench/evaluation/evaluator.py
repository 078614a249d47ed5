"""Evaluates one cell and writes one record."""

import pkgutil
from typing import Any

import torch

from bench.evaluation.kinds import Inputs, Kind, StoppedError
from bench.machine.execution import EAGER, Execution
from bench.machine.provenance import describe, software
from bench.sampling.sampler import CellSampler, DivergedError
from bench.sampling.setting import Setting
from bench.spec.cells import Cell
from bench.spec.measurements import AnyCell
from bench.store.finished_batches import forget
from bench.store.records import Record
from bench.system.errors import BadInputError
from bench.system.files import utc_now


def make_record(
    cell: AnyCell,
    device: torch.device,
    inputs: Inputs,
    status: str,
    reason: str = "",
    execution: Execution = EAGER,
    **measured: Any,
) -> Record:
    """A cell's record with this time and environment. `measured`: metrics, cost, series, timing, samples_digest."""
    return Record(
        key=cell.key,
        status=status,
        reason=reason,
        cell=cell.spec(),
        inputs=inputs.digests,
        environment=describe(device) | {"execution": str(execution)},
        finished_at=utc_now(),
        **measured,
    )


class Evaluator:
    """Evaluates cells of one suite on one device; networks, decoders and references are kept between cells."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self._sampler = setting, CellSampler(setting)
        self._kinds: dict[str, Kind] = {}
        software()  # now, because files may change during the evaluation

    def evaluate(self, cell: AnyCell) -> Record:
        """Evaluate a cell and write its record.

        Raises:
            BadInputError: its checkpoint, or another input, is unusable.
            StoppedError: the evaluation was stopped; there is no record yet.
        """
        setting, measured = self.setting, {}
        training = None if cell.run is None else setting.store.read_training(cell.run)
        inputs = Inputs(cell, training, self._sampler.network(cell)[1] if isinstance(cell, Cell) else "")
        status, reason = "done", ""
        try:  # every cell ends in a record
            kind = self._kind(cell.measured_by)
            if reason := kind.skip(cell):
                status = "skipped"
            elif training is not None and training["status"] == "diverged":
                why = f": {training['reason']}" if training.get("reason") else ""  # older summaries have none
                raise DivergedError(f"its training diverged at step {training['step']}{why}")
            else:
                measured = kind.measure(cell, inputs)
        except DivergedError as error:
            status, reason = "diverged", str(error)
        except torch.OutOfMemoryError as error:
            status, reason = "oom", str(error).splitlines()[0]
        except MemoryError:
            status, reason = "oom", "the host's memory did not suffice"
        except (BadInputError, OSError, StoppedError):
            raise  # these say nothing about the cell
        except Exception as error:
            status, reason = "error", f"{type(error).__name__}: {error}"
        record = make_record(cell, setting.device, inputs, status, reason, setting.execution, **measured)
        setting.store.write(record)
        if status in ("done", "diverged"):
            forget(setting.store.partial_folder(cell))
        return record

    def _kind(self, measured_by: str) -> Kind:
        if measured_by not in self._kinds:
            self._kinds[measured_by] = pkgutil.resolve_name(measured_by)(self.setting, self._sampler)
        return self._kinds[measured_by]
