"""Train a suite's contenders for equal seconds: python bench/train.py --suite digits --models fpdm"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.spec.arguments import Places, Running, Training, What, selection_of, suite_of
from bench.spec.cells import TrainingRun
from bench.spec.selection import training_run
from bench.store.records import Store
from bench.system.allocator import restart_with_tuned_malloc
from bench.system.command_line import Group, parse, run

if TYPE_CHECKING:
    from bench.system.signals import Interrupts


@dataclass(frozen=True)
class Seeded(Training):
    """How contenders are trained, and from which seed."""

    seed: int = 0
    """Seed of initialisation, data order, noise and unrolling."""


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

    def runs(self) -> list[TrainingRun]:
        """The trainings, each once: a contender may borrow another's weights. BadInputError for invalid values."""
        suite, selection = suite_of(self.what, self.training), selection_of(self.what, self.training)
        chosen = suite.chosen(selection.models)
        return list(dict.fromkeys(training_run(suite, one, selection, self.training.seed) for one in chosen))


def main(argv: list[str] | None = None, interrupts: "Interrupts | None" = None) -> int:
    """The command line; returns the exit status. Several ranks (torchrun, Slurm) train together."""
    arguments = parse(Arguments, argv)
    return train(arguments, arguments.runs(), interrupts)


def train(arguments: Arguments, runs: Sequence[TrainingRun], interrupts: "Interrupts | None" = None) -> int:
    """Train these of the runs; returns the exit status."""
    suite = suite_of(arguments.what, arguments.training)
    store = Store(arguments.places.results, suite.name)
    store.check_writable()

    from bench.training.ranks import joined
    from bench.training.turns import train_together

    device, execution = arguments.running.chosen()
    with joined(device) as (ranks, device):
        train_together(runs, store, device, execution, arguments.places, ranks, interrupts, suite.alternate)
        if ranks.first:
            _report(runs, store)
            if ranks.world != suite.gpus:
                print(f"training seconds of {suite.name} are meant for {suite.gpus} GPU(s), this run had {ranks.world}")
    return 0


def _report(runs: Sequence[TrainingRun], store: Store) -> None:
    for training in runs:
        if (summary := store.read_training(training)) is not None:
            print(
                f"{training.name}: {summary['status']}, {summary['step']} steps in {summary['elapsed_s']:.1f} s -> "
                f"{store.checkpoint_folder(training)}"
            )


if __name__ == "__main__":
    restart_with_tuned_malloc()
    sys.exit(run(main))
