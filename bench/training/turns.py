"""Training of a suite's runs, each for its own budget: in alternating slices or one after the other."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from tqdm import tqdm

from bench.data.sources import training_source
from bench.spec.arguments import Places
from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.system.execution import EAGER, Execution
from bench.system.progress import interval_s
from bench.system.signals import NONE, OUT_OF_TIME, Interrupts, OutOfTimeError
from bench.training import checkpoints
from bench.training.chains import waves
from bench.training.ranks import ALONE, Ranks
from bench.training.trainer import Trainer


def train_together(
    runs: Sequence[TrainingRun],
    store: Store,
    device: torch.device,
    execution: Execution = EAGER,
    places: Places = Places(),
    ranks: Ranks = ALONE,
    interrupts: Interrupts | None = None,
    alternate: bool = True,
) -> None:
    """Train runs of one suite, each for its own budget, in alternating slices: fair where a machine's speed drifts.

    Goes on from checkpoints; writes one after every slice, and when interrupted, after the step under way. Runs that
    differ only in length train one after the other, the shortest first, each from the end of the one before.

    Args:
        runs: the runs to train.
        store: receives their checkpoints.
        device: where to train.
        execution: how networks are run.
        places: where datasets and latents are.
        ranks: processes that train together; all call this alike.
        interrupts: requests to stop; one may have come before the call.
        alternate: False trains one run after the other, with the memory of one.

    Raises:
        BadInputError: a checkpoint is unusable or of other hardware or data, or another process trains the run.
        OutOfTimeError: SIGUSR2 came; everything is saved.
        KeyboardInterrupt: SIGINT or SIGTERM came; everything is saved.
    """
    if not runs:
        return
    interrupts = interrupts or Interrupts()
    folders = [store.checkpoint_folder(run) for run in runs]
    with ExitStack() as stack:
        ranks.first_does(lambda: [stack.enter_context(checkpoints.exclusive(folder)) for folder in folders])
        source = stack.enter_context(training_source(runs[0], places, ranks.first_does))
        for group in waves(runs) if alternate else [[run] for wave in waves(runs) for run in wave]:
            _take_turns([Trainer(run, store, device, source, execution, ranks) for run in group], interrupts)


def _take_turns(trainers: Sequence[Trainer], interrupts: Interrupts) -> None:
    if not (unfinished := [trainer for trainer in trainers if not trainer.finished]):
        return
    unit = "s" if unfinished[0].run.steps is None else "step"
    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} {unit}{postfix}"
    bars = [
        tqdm(
            desc=f"train {t.run.description}",
            total=t.budget,
            unit=unit,
            bar_format=form,
            position=i,
            mininterval=interval_s(),
            disable=not t.ranks.first,
        )
        for i, t in enumerate(unfinished)
    ]
    request = NONE
    with ExitStack() as stack:
        for bar in bars:
            stack.enter_context(bar)
        stack.enter_context(interrupts.deferred())
        for trainer in unfinished:
            trainer.warm_up()
        while any(not trainer.finished for trainer in unfinished) and request == NONE:
            for trainer, bar in zip(unfinished, bars, strict=True):
                if not trainer.finished and request == NONE:
                    trainer.train_slice(trainer.run.recipe.slice_s, bar, interrupts)
                    trainer.save()
                    request = trainer.request
    if request != NONE:
        raise OutOfTimeError if request == OUT_OF_TIME else KeyboardInterrupt
