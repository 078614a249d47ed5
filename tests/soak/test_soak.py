"""Four processes on one folder are killed at random moments, and come to the same end as one that nobody disturbs.

Every round begins with an empty folder. Two scenes:

- digits: four trainings, two of them of the same run; then two grids, drawing and a training. One results folder.
- ffhq: two encodings and two references, one prepared folder and one results folder.

`make soak` kills more often than `make test-slow`. SOAK_SEED repeats the moments of a failure, as far as time allows.
"""

import os
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import crowd
import pytest
from crowd import Command, Writer, family
from made_images import make_files, make_inception, make_vae
from outcome import differences

KILLS = int(os.environ.get("SOAK_KILLS", "8"))  # of each kind of command, by the clock; half as many at a file change
SEED = int(os.environ.get("SOAK_SEED", "0"))
MORE = 6  # rounds for kills that came too late because others had done the work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="follows processes through /proc"),
]


@dataclass
class Scene:
    """Commands that work in one folder.

    Attributes:
        folder: has the folder `work` that commands write into.
        phases: commands that run side by side; the phases one after the other.
        last: commands that run undisturbed at the end of each round.
    """

    folder: Path
    phases: list[list[Command]]
    last: list[Command] = field(default_factory=list)
    refused: int = 0
    slowest_child_s: float = 0.0

    @property
    def commands(self):
        """Each command once."""
        return list({id(command): command for phase in [*self.phases, self.last] for command in phase}.values())

    def play(self, seed):
        """Everything alone, then disturbed until no kill is left; returns the report, a line for each kind."""
        work, whole, started = self.folder / "work", self.folder / "whole", time.monotonic()
        for command in self.commands:
            command.alone()
        work.rename(whole)
        caches = set((self.folder / "tmp").iterdir())  # torch's
        generator, kinds = random.Random(seed), [command.name for command in self.commands]
        for command in self.commands:
            of_kind = kinds.count(command.name)
            command.plan(-(-KILLS // of_kind), -(-KILLS // (2 * of_kind)), generator)
        rounds = 0
        for rounds in range(1, 1 + -(-KILLS // 4) + MORE):
            self._round(rounds)
            assert differences(work, whole) == [], f"round {rounds}, SOAK_SEED={seed}"
            assert set((self.folder / "tmp").iterdir()) <= caches
            shutil.rmtree(work)
            if not any(command.kills for command in self.commands):
                break
        left = [f"{command.name}: {command.kills}" for command in self.commands if command.kills]
        assert not left, f"kills that never came in time, {left}"
        writers = len(self.phases[0])
        return [self._line(name) for name in dict.fromkeys(kinds)] + [
            f"{writers} writers at once, {rounds} rounds, {time.monotonic() - started:.0f} s, differences: 0; children "
            f"of killed processes ended within {self.slowest_child_s:.1f} s; refused and started again: "
            f"{self.refused}"
        ]

    def _round(self, number):
        left = max(1, -(-KILLS // 4) - number + 1)  # rounds
        for phase in self.phases:
            shares = {id(c): -(-len(c.kills) // (left * phase.count(c))) for c in phase}
            writers = [Writer(command, shares[id(command)], len(phase)) for command in phase]
            crowd.run(writers)
            self.refused += sum(writer.refused for writer in writers)
            self.slowest_child_s = max([self.slowest_child_s, *(writer.slowest_child_s for writer in writers)])
        for command in self.last:
            command.alone()
        assert not family(f"{os.getpid()}-")

    def _line(self, name):
        killed = [seconds for command in self.commands if command.name == name for seconds in command.killed]
        return f"{name}: {len(killed)} kills, {min(killed):.1f} to {max(killed):.1f} s after the start"


def report(capsys, title, lines):
    with capsys.disabled():
        print("", title, *lines, sep="\n  ")


def test_digits_trained_evaluated_and_drawn(tmp_path, capsys):
    small = ["--batch-size", 16, "--train-steps", 60, "--results", tmp_path / "work" / "results"]
    cells = [*small, "--budget", 140, "--samples", 40, "--seeds", 0]

    def command(name, *arguments):
        return Command(name, arguments, tmp_path)

    training = [command("training", "bench/train.py", *small, "--device", "cpu", "--seed", seed) for seed in range(4)]
    running = ["--grid", "smoothing", "--device", "cpu", "--workers", 2]
    grid = command("grid", "bench/run_grid.py", *cells, *running)
    drawing = command("drawing", "paper_figures/make_all.py", *cells)
    phases = [[training[0], *training[:3]], [grid, grid, drawing, training[3]]]
    report(capsys, "soak of digits", Scene(tmp_path, phases, [drawing]).play(SEED))


def test_ffhq_encoded_and_its_reference_made(tmp_path, capsys):
    make_files(tmp_path / "data", 48)
    work = tmp_path / "work"
    images = ["--suite", "ffhq", "--data", tmp_path / "data", "--any-count", "--prepared", work / "prepared"]
    images += ["--device", "cpu", "--workers", 2]
    vae = ["--vae", make_vae(tmp_path / "vae"), "--image-size", 64, "--batch-size", 4, "--shard-images", 6]
    inception = ["--inception-weights", make_inception(tmp_path / "inception.pth"), "--results", work / "results"]
    encoding = Command("encoding", ["bench/encode_latents.py", *images, *vae], tmp_path)
    reference = Command("reference", ["bench/reference.py", *images, *inception, "--shard-images", 12], tmp_path)
    phases = [[encoding, encoding, reference, reference]]
    report(capsys, "soak of ffhq", Scene(tmp_path, phases).play(SEED))
