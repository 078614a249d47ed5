"""Commands as processes side by side on one folder, killed at random moments and started again until they end."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCHER = Path(__file__).with_name("launched.py")
REFUSED = ("is being trained by another process", "no records in ")  # status 2; the same command is started again
LIMIT_S = 1800  # for a process to end, on a busy machine
CHILDREN_S = 60  # for the children of a killed process to end
launches = count()


def family(launch):
    """Processes of a launch that are alive, its children included: its name is in their environment."""
    mark, found = f"SOAK_LAUNCH={launch}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if any(variable.startswith(mark) for variable in path.read_bytes().split(b"\0")):
                found.append(int(path.parent.name))
    return found


@dataclass
class Command:
    """A command of the soak, and the kills that are left for it.

    Attributes:
        name: what it does.
        arguments: file and arguments.
        folder: changes of files below it are counted.
        seconds, changes: how long it takes alone, and how many changes of files it makes in its own process.
        kills: moments that are left: ("second" or "change", share of the whole, 0 to 1).
        killed: seconds after the start, of each kill.
    """

    name: str
    arguments: list[str]
    folder: Path
    seconds: float = 0.0
    changes: int = 0
    kills: list[tuple[str, float]] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)

    def start(self, environment):
        """A process, the name of its launch, and the file with its output."""
        launch = f"{os.getpid()}-{next(launches)}-"
        log = self.folder / "logs" / f"{self.name}-{launch}.log"
        log.parent.mkdir(exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.folder / "tmp"),
            "SOAK_FOLDER": str(self.folder / "work"),
            "SOAK_LAUNCH": launch,
            **environment,
        }
        command = [sys.executable, str(LAUNCHER), *map(str, self.arguments)]
        with log.open("w") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        return process, launch, log

    def alone(self):
        """Run it undisturbed, and note how long it takes and how many changes it makes."""
        counted, started = self.folder / "counted", time.monotonic()
        process, _, log = self.start({"SOAK_COUNTED": str(counted)})
        assert process.wait(LIMIT_S) == 0, log.read_text()[-3000:]
        self.seconds, self.changes = time.monotonic() - started, int(counted.read_text())

    def plan(self, kills, by_change, generator):
        """Plan kills at moments spread over the whole command, and some just before a change of a file."""
        moments = [("second", (i + generator.random()) / kills) for i in range(kills)]
        moments += [("change", (i + generator.random()) / by_change) for i in range(by_change)]
        generator.shuffle(moments)
        self.kills = moments


class Writer:
    """One of the processes of a crowd: runs a command until it ends by itself, with kills on the way.

    Args:
        command: the command.
        kills: how many of its kills are for this writer.
        crowd: number of writers, which share the cores: each takes longer than alone.
    """

    def __init__(self, command, kills, crowd):
        self.command, self.ended, self.refused = command, False, 0
        self.kills = [command.kills.pop() for _ in range(min(kills, len(command.kills)))]
        self.slowed = max(1.0, crowd / len(os.sched_getaffinity(0)))
        self.dying, self.slowest_child_s = {}, 0.0  # killed launches whose children are alive, with the time of death
        self._start()

    def _start(self):
        kind, share = self.kills[0] if self.kills else ("", 1.0)
        self.limit_s = share * self.command.seconds * self.slowed if kind == "second" else LIMIT_S
        change = {"SOAK_KILL_AT": str(1 + int(share * self.command.changes))} if kind == "change" else {}
        self.started = time.monotonic()
        self.process, self.launch, self.log = self.command.start(change)

    def look(self):
        """Kill the process if its moment has come; start it again if it was killed or refused."""
        now = time.monotonic()
        self._look_at_children(now)
        if self.ended or now < self.started:
            return
        if self.process is None:
            self._start()
        if now - self.started > self.limit_s:
            self.process.kill()
            self.process.wait()
        status = self.process.poll()
        if status == -signal.SIGKILL:
            assert self.kills, f"{self.command.name} hangs: {self._said()}"
            self.kills.pop(0)
            self.command.killed.append(now - self.started)
            self.dying[self.launch] = now
            self._start()
        elif status == 2 and any(line in self.log.read_text() for line in REFUSED):
            self.refused += 1
            self.process, self.started = None, now + 2
        elif status is not None:
            assert status == 0, f"{self.command.name} ended with {status}: {self._said()}"
            # before its moment came, if others had done its work: next time earlier, and by the clock,
            # since a process that finds everything done may change no file
            self.command.kills += [("second", share / 2) for _, share in self.kills]
            self.ended = True

    def _said(self):
        return self.log.read_text()[-3000:]

    def _look_at_children(self, now):
        for launch, died in list(self.dying.items()):
            if not (alive := family(launch)):
                self.slowest_child_s = max(self.slowest_child_s, now - died)
                del self.dying[launch]
            else:
                assert now - died < CHILDREN_S, f"children of a killed {self.command.name} live on: {alive}"


def run(writers):
    """Look at the writers until all have ended by themselves and no child of a killed one is alive."""
    while any(not writer.ended or writer.dying for writer in writers):
        for writer in writers:
            writer.look()
        time.sleep(0.05)
