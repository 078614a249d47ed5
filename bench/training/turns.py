"""Training of a suite's runs, each for its own budget: in alternating slices, side by side or one after the other."""

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack

import torch

from bench.data.sources import training_source
from bench.machine.execution import EAGER, Execution
from bench.spec.arguments import Places
from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.system.errors import BadInputError
from bench.system.signals import NONE, OUT_OF_TIME, Interrupts, OutOfTimeError
from bench.training import checkpoints
from bench.training.neighbors import bar_of, train_side_by_side
from bench.training.ranks import ALONE, Ranks
from bench.training.runs import waves
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
    side_by_side: int = 1,
) -> None:
    """Train runs of one suite, each for its own budget, in alternating slices: fair where a machine's speed drifts.

    With `side_by_side`, so many slices run at the same time, each in a process with its share of the cores. Neighbors
    change: all runs have some for the same time, except that the last slices of an odd one may have none.

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
        side_by_side: runs at the same time, on a CPU.

    Raises:
        BadInputError: a checkpoint is unusable or of other hardware or data, another process trains the run (which one
            process alone waits for), or the device or the suite does not train side by side.
        OutOfTimeError: SIGUSR2 came; everything is saved.
        KeyboardInterrupt: SIGINT or SIGTERM came; everything is saved.
    """
    if not runs:
        return
    if side_by_side > 1 and (device.type != "cpu" or not alternate or ranks.world > 1):
        raise BadInputError(f"--side-by-side {side_by_side}: only on a CPU, in one process, and where runs take turns")
    interrupts = interrupts or Interrupts()
    # in one order, so that two commands do not wait for each other
    folders = sorted(store.checkpoint_folder(run) for run in runs)
    with ExitStack() as stack:
        ranks.first_does(lambda: [stack.enter_context(checkpoints.exclusive(one, ranks.world == 1)) for one in folders])
        if side_by_side > 1:
            for group in waves(runs):
                train_side_by_side(group, store, execution, places, side_by_side, interrupts)
            return
        source = stack.enter_context(training_source(runs[0], places, ranks.first_does))
        for group in waves(runs) if alternate else [[run] for wave in waves(runs) for run in wave]:
            _take_turns([Trainer(run, store, device, source, execution, ranks) for run in group], interrupts)


def _take_turns(trainers: Sequence[Trainer], interrupts: Interrupts) -> None:
    if not (unfinished := [trainer for trainer in trainers if not trainer.finished]):
        return
    bars = [bar_of(trainer, i) for i, trainer in enumerate(unfinished)]
    request = NONE
    with ExitStack() as stack:
        for bar in bars:
            stack.enter_context(bar)
        stack.enter_context(interrupts.deferred())
        for trainer in unfinished:
            trainer.warm_up()
        turns = deque(zip(unfinished, bars, strict=True))
        while turns and request == NONE:
            trainer, bar = turns.popleft()
            trainer.train_slice(trainer.run.recipe.slice_s, bar, interrupts)
            trainer.save()
            request = trainer.request
            if not trainer.finished:
                turns.append((trainer, bar))
    if request != NONE:
        raise OutOfTimeError if request == OUT_OF_TIME else KeyboardInterrupt
