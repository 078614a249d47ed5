"""Train a suite's models for equal seconds: python bench/train.py --suite digits --models fpdm"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.spec.arguments import AssetArguments, ExecutionArguments, TrainingArguments
from bench.spec.cells import TrainingRun
from bench.spec.selection import Selection, training_run
from bench.store.records import Store
from bench.system.allocator import restart_with_tuned_malloc
from bench.system.command_line import parse, run

if TYPE_CHECKING:
    from bench.system.signals import Interrupts


@dataclass(frozen=True)
class Arguments(AssetArguments, ExecutionArguments, TrainingArguments):
    """Train a suite's models, each for the same seconds of training clock. Goes on where an earlier run stopped."""

    seed: int = 0
    """Of initialisation, data order, noise and unrolling."""

    def runs(self) -> list[TrainingRun]:
        """What is to be trained. BadInputError for values that make no sense."""
        selection = Selection(models=self.models, train_seconds=self.train_seconds, train_steps=self.train_steps)
        return [training_run(self.chosen_suite(), model, selection, self.seed) for model in self.models]


def main(argv: list[str] | None = None, interrupts: "Interrupts | None" = None) -> int:
    """The command line; returns the exit status. Several ranks (torchrun, Slurm) train together."""
    arguments = parse(Arguments, argv)
    suite, runs = arguments.chosen_suite(), arguments.runs()
    store = Store(arguments.results, suite.name)
    store.check_writable()

    from bench.training.ranks import joined
    from bench.training.turns import train_together

    device, execution = arguments.chosen()
    with joined(device) as (ranks, device):
        train_together(runs, store, device, execution, arguments.assets(), ranks, interrupts, suite.alternate)
        if ranks.first:
            _report(runs, store)
            if ranks.world != suite.gpus:
                print(f"the clock of {suite.name} is meant for {suite.gpus} GPUs at once, this was {ranks.world}")
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
