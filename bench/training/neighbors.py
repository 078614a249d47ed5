"""Runs side by side: each is trained by a process of its own, which waits between its slices."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, wait
from typing import Protocol

import torch
from tqdm import tqdm

from bench.data.sources import training_source
from bench.machine.execution import Execution
from bench.spec.arguments import Places
from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.system.children import end_with_parent, watched
from bench.system.errors import BadInputError, complaint
from bench.system.malloc import keep_freed_memory
from bench.system.progress import interval_s
from bench.system.signals import NONE, STOP, Interrupts
from bench.training.trainer import Trainer

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} {unit}{postfix}"
LOOK_S = 0.2  # between two looks at whether to stop
_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # the parent handles them
_GRACE_S = 60.0  # for a process to save and end
CPU = torch.device("cpu")


class Neighbor(Protocol):
    """A run that trains slice by slice beside others."""

    finished: bool

    def begin(self) -> None:
        """Let it train a slice, and return at once."""

    def stop(self) -> None:
        """Let it end its slice after the step under way."""

    def ended(self, seconds: float) -> bool:
        """Whether its slice, or its start, has ended and is saved, after waiting for this at most."""


def rotate(neighbors: Sequence[Neighbor], count: int, interrupts: Interrupts) -> None:
    """Train until all have finished or a stop is asked for, `count` at a time; who waits longest comes first."""
    turns = deque(one for one in neighbors if not one.finished)
    while turns and interrupts.request == NONE:
        together = [turns.popleft() for _ in range(min(count, len(turns)))]
        for one in together:
            one.begin()
        left, told = list(together), False
        while left:
            if interrupts.request != NONE and not told:
                told = True
                for one in left:
                    one.stop()
            left = [one for one in left if not one.ended(LOOK_S)]
        turns.extend(one for one in together if not one.finished)


class Process:
    """A run in a process of its own, which starts and warms up at once.

    Args:
        run, store, execution, places: what is trained and how.
        side_by_side: runs that train at the same time.
        threads: torch's threads of this one.
        position: line of its progress bar.
    """

    def __init__(
        self,
        run: TrainingRun,
        store: Store,
        execution: Execution,
        places: Places,
        side_by_side: int,
        threads: int,
        position: int,
    ) -> None:
        self.finished, self._name = False, run.name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with theirs:  # once it is closed here, the process's death ends the pipe
            arguments = (theirs, run, store, execution, places, side_by_side, threads, position)
            self.process = context.Process(target=_train, args=arguments)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)  # which the process inherits
            try:
                self.process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def begin(self) -> None:
        self._pipe.send(True)

    def stop(self) -> None:
        with suppress(OSError):  # it has just ended
            self._pipe.send(False)

    def ended(self, seconds: float) -> bool:
        """As `Neighbor.ended`. BadInputError if the process died or cannot train."""
        if not wait([self._pipe], seconds):
            return False
        try:
            self.finished, error = self._pipe.recv()
        except (EOFError, OSError):
            self.process.join(_GRACE_S)
            status = self.process.exitcode
            raise BadInputError(f"the process that trains {self._name} ended with status {status}") from None
        if error:
            raise BadInputError(error)
        return True

    def close(self) -> None:
        """Let it end after the step under way, saved, and wait for it."""
        self.stop()
        self.process.join(_GRACE_S)
        self.process.kill()
        self.process.join()
        self._pipe.close()


class _Asked(Interrupts):
    """A stop that the parent asks for, through the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    @property
    def request(self) -> int:  # type: ignore[override]
        return STOP if self._pipe.poll() else NONE


def _train(
    pipe: Connection,
    run: TrainingRun,
    store: Store,
    execution: Execution,
    places: Places,
    side_by_side: int,
    threads: int,
    position: int,
) -> None:
    """Train a slice for each True that comes through the pipe, until False comes; answer (finished, error) each time.

    The first answer comes after the warm-up.
    """
    end_with_parent()
    keep_freed_memory()
    torch.set_num_threads(threads)
    try:
        with ExitStack() as stack:
            source = stack.enter_context(training_source(run, places, lambda verify: verify()))
            trainer = Trainer(run, store, CPU, source, execution, side_by_side=side_by_side)
            if not trainer.finished:
                bar = stack.enter_context(bar_of(trainer, position))
                trainer.warm_up()
            pipe.send((trainer.finished, ""))
            while pipe.recv():
                trainer.train_slice(run.recipe.slice_s, bar, _Asked(pipe))
                trainer.save()
                pipe.send((trainer.finished, ""))
    except EOFError:
        pass
    except (BadInputError, OSError) as error:
        if (line := complaint(error)) is None:
            raise
        with suppress(OSError):
            pipe.send((False, line.removeprefix("error: ")))


def bar_of(trainer: Trainer, position: int) -> tqdm:
    """The progress bar of a run, on this line."""
    unit = "s" if trainer.run.steps is None else "step"
    return tqdm(
        desc=f"train {trainer.run.description}",
        total=trainer.budget,
        unit=unit,
        bar_format=BAR,
        position=position,
        mininterval=interval_s(),
        disable=not trainer.ranks.first,
    )


def train_side_by_side(
    runs: Sequence[TrainingRun],
    store: Store,
    execution: Execution,
    places: Places,
    count: int,
    interrupts: Interrupts,
) -> None:
    """Train runs, `count` at a time, each with its share of torch's threads. See `turns.train_together`."""
    threads = max(1, torch.get_num_threads() // count)
    with ExitStack() as stack:
        stack.enter_context(interrupts.deferred())
        processes = list[Process]()
        for start in range(0, len(runs), count):  # no more than so many warm up at once
            for i, run in enumerate(runs[start : start + count], start):
                processes.append(Process(run, store, execution, places, count, threads, i))
                stack.callback(processes[-1].close)
            for one in processes[start:]:
                while interrupts.request == NONE and not one.ended(LOOK_S):
                    pass
            if interrupts.request != NONE:
                break
        stack.enter_context(watched([one.process for one in processes]))
        rotate(processes, count, interrupts)
    if interrupts.request != NONE:
        raise KeyboardInterrupt
