"""Requests to stop training: the step under way is finished, then the trainer saves and stops.

Ctrl-C and SIGTERM end the command. A cluster sends SIGUSR2 some time before a job's time limit; training then goes on
in another job.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

NONE, STOP, OUT_OF_TIME = 0, 1, 2
_MEANING = {signal.SIGINT: STOP, signal.SIGTERM: STOP, signal.SIGUSR2: OUT_OF_TIME}


class OutOfTimeError(KeyboardInterrupt):
    """Training stopped before its job's time limit. Everything is saved; the same command resumes it."""


def tell(line: str) -> None:
    """Write a line to standard error, also from a signal's handler."""
    with suppress(OSError):
        os.write(2, f"\n{line}\n".encode())


class Interrupts:
    """Whether the process was asked to stop, and how: NONE, STOP or OUT_OF_TIME, whichever came first."""

    def __init__(self) -> None:
        self.request = NONE

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.request == STOP and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice
        if self.request == NONE and number == signal.SIGINT:
            tell("finishing the step under way; Ctrl-C again ends at once")
        self.request = self.request or _MEANING[signal.Signals(number)]

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, the three signals are noted in `request`; nothing changes outside the main thread.

        The first Ctrl-C is answered with a line; a second one raises KeyboardInterrupt.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in _MEANING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
