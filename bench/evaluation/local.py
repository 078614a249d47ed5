"""The local executor: trainings in turns in this process, cells in worker processes."""

from collections.abc import Sequence
from dataclasses import replace

from bench.evaluation.executors import Work
from bench.evaluation.plan import Capacity, needed_runs, untrained
from bench.evaluation.progress_bar import CellsBar
from bench.evaluation.workers import evaluate_all
from bench.machine.devices import default_workers, hardware_name, pick_device
from bench.sampling.setting import Setting
from bench.sampling.weights import find_weights
from bench.spec.measurements import AnyCell
from bench.store.records import missing
from bench.system.errors import BadInputError
from bench.system.files import utc_now
from bench.training.runs import check_comparable
from bench.training.turns import train_together


class Local:
    """Trains and evaluates on this machine."""

    queues = False

    def __init__(self, work: Work) -> None:
        self._work = work

    def check(self) -> None:
        """BadInputError if the device or compilation is not available, or if a grid for a GPU has none."""
        device, _ = self._work.running.chosen()
        if self._work.gpu and device.type != "cuda":
            raise BadInputError(f"this grid is for a GPU, and --device {self._work.running.device} is {device}")

    def capacity(self) -> Capacity:
        """The requested workers, or as many as suit the device. A suite for several GPUs is taken to run on GPUs."""
        device = pick_device(self._work.running.device)
        count = self._work.workers or default_workers(device)
        gpu = self._work.suite.gpus > 1 or device.type == "cuda"
        return Capacity(count, gpu, trainings=self._work.running.side_by_side, hardware=hardware_name(device))

    def setting(self) -> Setting:
        """The setting that cells are evaluated with."""
        device, execution = self._work.running.chosen()
        return Setting(self._work.store, device, self.capacity().count, execution, self._work.places)

    def run(self, cells: Sequence[AnyCell]) -> int:
        """Train and evaluate what is missing; returns how many cells failed."""
        setting, suite = self.setting(), self._work.suite
        store, needed = setting.store, needed_runs(missing(setting.store, cells))
        runs = untrained(store, needed)
        for training in needed:
            if training not in runs:  # fail before the work, not during it
                find_weights(store, training)
        train_together(
            runs,
            store,
            setting.device,
            setting.execution,
            setting.places,
            alternate=suite.alternate,
            side_by_side=self._work.running.side_by_side,
        )
        check_comparable(store, needed_runs(cells))
        since, todo = utc_now(), missing(store, cells)  # weights trained just now make older records stale
        with CellsBar(todo, store) as bar:
            for record in evaluate_all(todo, replace(setting, since=since)):
                bar.ended(record)
        return bar.failed
