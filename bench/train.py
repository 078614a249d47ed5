"""Train a suite's contenders for equal seconds: python bench/train.py --suite digits --models fpdm"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from bench.prepare.own_images import Own, opened
from bench.spec.arguments import Places, Running, Training, What, selection_of, suite_of
from bench.spec.cells import TrainingRun
from bench.spec.contenders import Suite
from bench.spec.datasets import OwnImages
from bench.spec.selection import training_run
from bench.store.own_images import write_own
from bench.store.records import Store
from bench.system.command_line import Group, parse, run
from bench.system.errors import BadInputError

if TYPE_CHECKING:
    from bench.system.signals import Interrupts


@dataclass(frozen=True)
class Seeded(Training):
    """How contenders are trained, and from which seeds."""

    seeds: Annotated[tuple[int, ...], tyro.conf.arg(aliases=["--seed"])] = (0,)
    """Seeds of initialisation, data order, noise and unrolling; each contender is trained once with each."""


@dataclass(frozen=True)
class Arguments:
    """Train a suite's contenders, each for the same seconds of training clock. Goes on where an earlier run stopped."""

    what: Group[What] = What()
    """Suite and contenders."""
    training: Group[Seeded] = Seeded()
    """Training of the contenders."""
    running: Group[Running] = Running()
    """Device and execution."""
    places: Group[Places] = Places()
    """Folders and files."""
    own: Group[Own] = Own()
    """Your own images (--suite folder)."""

    @cached_property
    def images(self) -> OwnImages | None:
        """The images of --suite folder. BadInputError as in `opened`."""
        return opened(self.own, self.what, self.training, self.running, self.places)

    @property
    def suite(self) -> Suite:
        """The suite in the requested size. BadInputError for invalid values."""
        return suite_of(self.what, self.training, self.images)

    def runs(self) -> list[TrainingRun]:
        """The trainings, each once: a contender may borrow another's weights. BadInputError for invalid values."""
        if self.training.weights is not None:
            raise BadInputError(f"--weights {self.training.weights}: they are trained already; see bench/run_grid.py")
        suite, selection = self.suite, selection_of(self.what, self.training)
        chosen = suite.chosen(selection.models)
        selection = replace(selection, seeds=self.training.seeds)  # checks them
        runs = (training_run(suite, one, selection, seed) for seed in self.training.seeds for one in chosen)
        return list(dict.fromkeys(runs))


def main(argv: list[str] | None = None, interrupts: "Interrupts | None" = None) -> int:
    """The command line; returns the exit status. Several ranks (torchrun, Slurm) train together."""
    arguments = parse(Arguments, argv)
    return train(arguments, arguments.runs(), interrupts)


def train(arguments: Arguments, runs: Sequence[TrainingRun], interrupts: "Interrupts | None" = None) -> int:
    """Train these of the runs; returns the exit status."""
    suite = arguments.suite
    store = Store(arguments.places.results, suite.name)
    store.check_writable()

    from bench.data.sources import check_training_data
    from bench.training.ranks import joined
    from bench.training.turns import train_together

    device, execution = arguments.running.chosen()
    with joined(device) as (ranks, device):
        ranks.first_does(lambda: check_training_data(runs, arguments.places))  # before the first file is written
        if (images := arguments.images) is not None:
            ranks.first_does(lambda: write_own(arguments.places.results, images))
        options = (ranks, interrupts, suite.alternate, arguments.running.side_by_side)
        train_together(runs, store, device, execution, arguments.places, *options)
        if ranks.first:
            _report(runs, store)
            if ranks.world != suite.gpus:
                print(f"training seconds of {suite.name} are meant for {suite.gpus} GPU(s), this run had {ranks.world}")
    return 0


def _report(runs: Sequence[TrainingRun], store: Store) -> None:
    for training in runs:
        if (summary := store.read_training(training)) is not None:
            status = f"{summary['status']}, {summary['reason']}" if summary.get("reason") else summary["status"]
            print(
                f"{training.name}: {status}, {summary['step']} steps in {summary['elapsed_s']:.1f} s -> "
                f"{store.checkpoint_folder(training)}"
            )


if __name__ == "__main__":
    sys.exit(run(main))
