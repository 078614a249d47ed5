"""Train a suite's models for equal seconds: python bench/train.py --suite digits --models fpdm"""

import sys
from dataclasses import dataclass

from bench.cli import ExecutionArguments, TrainingArguments, parse, run
from bench.malloc import restart_with_tuned_malloc
from bench.selection import Selection, training_run
from bench.store import Store
from bench.suites import get_suite


@dataclass(frozen=True)
class Arguments(ExecutionArguments, TrainingArguments):
    """Train a suite's models, each for the same seconds of training clock. Goes on where an earlier run stopped."""

    seed: int = 0
    """Of initialisation, data order, noise and unrolling."""


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    arguments = parse(Arguments, argv)
    suite = get_suite(arguments.suite)
    selection = Selection(
        models=arguments.models, train_seconds=arguments.train_seconds, train_steps=arguments.train_steps
    )
    store = Store(arguments.results, suite.name)
    store.check_writable()
    runs = [training_run(suite, model, selection, arguments.seed) for model in arguments.models]

    from bench.trainer import train_together

    train_together(runs, store, *arguments.chosen())
    for training in runs:
        if (summary := store.read_training(training)) is not None:
            print(
                f"{training.name}: {summary['status']}, {summary['step']} steps in {summary['elapsed_s']:.1f} s -> "
                f"{store.checkpoint_folder(training)}"
            )
    return 0


if __name__ == "__main__":
    restart_with_tuned_malloc()
    sys.exit(run(main))
