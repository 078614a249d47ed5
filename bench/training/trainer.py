"""Trainer of one network for a budget of seconds or steps, in one process or in several ranks.

On the clock: data, forward, backward, optimizer, EMA. Off it: start-up, warm-up, checkpoints.
"""

import math
import sys
import time
from typing import Any

import torch
from tqdm import tqdm

from bench.data.batches import Source
from bench.machine.compiler import settled
from bench.machine.devices import hardware_name
from bench.machine.execution import EAGER, Execution
from bench.machine.provenance import describe, software
from bench.spec.arguments import VAE
from bench.spec.cells import TrainingRun
from bench.spec.datasets import get_dataset
from bench.store.records import Store
from bench.system.files import write_json
from bench.system.signals import NONE, Interrupts
from bench.training import checkpoints
from bench.training.clock import TrainingClock
from bench.training.log import MetricsLog
from bench.training.ranks import ALONE, Ranks
from bench.training.starts import Conditions, change_at, conditions_from, resumable
from bench.training.step import TrainingStep
from bench.training.tensors import averages_of, fill, optimizer_steps, spread, state_of
from models.diffusion.randomness import key
from models.families import build
from models.pretrained import PIXELS, Description

# Steps in a row with overflowing fp16 gradients, after which a run has diverged. Each halves the scaler's scale, from
# 2^16 at its start to 2^-24, the least number in fp16.
MOST_SKIPPED = 40


class Trainer:
    """One run: network, optimizer, EMA, clock.

    It goes on from the run's checkpoint. If there is none, it goes on from the end of the longest shorter run of the
    same chain (`TrainingRun.chain`): the learning rate is constant and everything random is keyed by (seed, step), so
    that run took the same steps. Only if there is none either, it starts from nothing.

    Args:
        run: the run to train.
        store: receives checkpoint, metrics log and summary.
        device: where to train.
        data: its dataset, encoded.
        execution: how the network is run.
        ranks: the processes that share each batch. Rank 0 has the averaged weights and the clock, and writes files.
        side_by_side: runs that train on this machine at the same time, this one included.
    """

    def __init__(
        self,
        run: TrainingRun,
        store: Store,
        device: torch.device,
        data: Source,
        execution: Execution = EAGER,
        ranks: Ranks = ALONE,
        side_by_side: int = 1,
    ) -> None:
        self.run, self.device, self.ranks, self._store, self._data = run, device, ranks, store, data
        self._side_by_side = side_by_side
        execution = settled(execution, device, run.budget if run.steps is None else None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(run.seed, "initialization", *map(ord, run.model)))
            self.model = build(run.config)
        self.model.to(device).train()
        self._training_step = TrainingStep(self.model, run.recipe, device, data, run.seed, execution, ranks)
        self._scaler = self._training_step.scaler
        software()  # now, because files may change during the training
        self.clock = TrainingClock(device)
        self.elapsed_s = 0.0  # by the clock of rank 0, as of the last step
        self.step, self.status, self.request = 0, "training", NONE
        self._off_clock_s = {"warm_up": 0.0, "checkpoints": 0.0}
        self._log = MetricsLog(store.metrics_log_path(run))
        hardware = hardware_name(device) if ranks.world == 1 else f"{ranks.world} x {hardware_name(device)}"
        self._hardware = execution.on(f"{hardware}, {side_by_side} side by side" if side_by_side > 1 else hardware)
        self._continues: str | None = None  # name of the shorter run that this one went on from
        self._conditions: Conditions = []
        self._options = str(execution)  # that it began with
        self._skipped, self._reason = 0, ""  # steps in a row without an update; why it diverged
        self._resume()

    @property
    def finished(self) -> bool:
        return self.status != "training"

    @property
    def progress(self) -> float:
        """The spent part of the budget, in its unit (seconds or steps)."""
        return self.elapsed_s if self.run.steps is None else self.step

    @property
    def budget(self) -> float:
        return self.run.budget

    def train_slice(self, seconds: float, bar: tqdm, interrupts: Interrupts) -> None:
        """Train until the slice or the budget is spent, or the run diverges or is interrupted.

        All ranks end at the same step, and `request` is then the request that any of them received.
        """
        start = self.elapsed_s
        with self.clock.running():
            while not self.finished and self.request == NONE and self.elapsed_s - start < seconds:
                self._train_step()
                self._agree(interrupts)
                self._show(bar)

    def save(self) -> None:
        """Write the checkpoint and, when the run has ended, its summary. Off the clock."""
        self.ranks.first_does(self._write)

    def _write(self) -> None:
        started = time.perf_counter()
        self._log.flush()
        digest = checkpoints.save(
            self._store.checkpoint_folder(self.run),
            self.run,
            checkpoints.Checkpoint(
                ema=averages_of(self.model, self._training_step),
                state=state_of(self.model, self._training_step),
                step=self.step,
                elapsed_s=self.elapsed_s,
                status=self.status,
                hardware=self._hardware,
                extra={
                    **self._data.identity,
                    "optimizer_steps": optimizer_steps(self._training_step),
                    "scaler": self._scaler.state_dict(),
                    "log": self._log.open_window,
                    "off_clock_s": self._off_clock_s,
                    "continues": self._continues,
                    "conditions": self._conditions,
                    "options": self._options,
                    "skipped": self._skipped,
                    "reason": self._reason,
                },
            ),
        )
        self._off_clock_s["checkpoints"] += time.perf_counter() - started
        if self.finished:
            self._summarize(digest)

    def warm_up(self) -> None:
        """Run a step whose gradients are dropped, off the clock (`TrainingStep.warm_up`)."""
        started = time.perf_counter()
        self._training_step.warm_up()
        self._off_clock_s["warm_up"] += time.perf_counter() - started
        micro_batch = self._training_step.micro_batch
        self._conditions = conditions_from(self.step, self._hardware, micro_batch, self._conditions)
        if self.ranks.first and (change := change_at(self.step, self._conditions)):
            tqdm.write(f"{self.run.name} goes on from step {self.step} with {change}", file=sys.stderr)

    def _train_step(self) -> None:
        try:
            losses = self._training_step.gradients(self.step)
        except torch.OutOfMemoryError as error:  # although it sufficed in `warm_up`
            raise self._training_step.too_large() from error
        norm = self._training_step.clip()
        rows = self.ranks.gather(torch.cat((losses, norm.reshape(1))).tolist())
        values = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        if reason := self._divergence(values[0], values[3]):
            self.status, self._reason = "diverged", reason
            return
        self._training_step.update(self.step)
        self.step += 1
        self.elapsed_s = self.clock.read()
        self._log.add(self.step, self.elapsed_s, *values)

    def _divergence(self, loss: float, norm: float) -> str:
        """Why the run has diverged; empty if it goes on. The scaler skips a step whose fp16 gradients overflow."""
        if not math.isfinite(loss):
            return "its loss is not finite"
        if math.isfinite(norm):
            self._skipped = 0
            return ""
        if not self._scaler.is_enabled():
            return "its gradients are not finite"
        self._skipped += 1
        return f"fp16 gradients overflowed in {MOST_SKIPPED} steps in a row" if self._skipped >= MOST_SKIPPED else ""

    def _agree(self, interrupts: Interrupts) -> None:
        """All ranks see the clock of rank 0, and end when the budget is spent or one of them was asked to stop."""
        rows = self.ranks.gather([self.clock.read(), interrupts.request])
        self.elapsed_s, self.request = rows[0][0], int(max(row[1] for row in rows))
        if self.status == "training" and self.progress >= self.budget:
            self.status = "done"

    def _show(self, bar: tqdm) -> None:
        bar.n = min(self.progress, self.budget)
        rate = self.step / self.elapsed_s if self.elapsed_s > 0 else 0.0
        left = self.budget - self.progress
        left_s = left if self.run.steps is None else left / max(rate, 1e-9)
        bar.set_postfix_str(
            f"loss {self._log.recent:.3f}, {rate:.1f} steps/s, {max(left_s, 0):.0f} s left", refresh=False
        )
        bar.update(0)

    def _resume(self) -> None:
        """Go on from the run's checkpoint or a shorter run's, which rank 0 reads; nothing if there is none."""
        found = self.ranks.first_does(
            lambda: resumable(self._store, self.run, self._hardware, self._data.identity, self._log)
        )
        saved = None if found is None else found[0]
        values = None if saved is None else (saved.step, saved.status, saved.elapsed_s, saved.extra)
        if (values := self.ranks.tell(values)) is None:
            return
        if saved is not None:
            fill(self.model, self._training_step, saved)
        self.step, self.status, self.elapsed_s, extra = values
        spread(self._training_step, int(extra["optimizer_steps"]), self.ranks)
        if extra["scaler"]:  # empty where a run was trained without one
            self._scaler.load_state_dict(extra["scaler"])
        self.clock = TrainingClock(self.device, self.elapsed_s)
        self._off_clock_s, self._continues = dict(extra["off_clock_s"]), extra.get("continues")
        self._conditions, self._options = extra["conditions"], extra.get("options", self._options)
        self._skipped, self._reason = extra.get("skipped", 0), extra.get("reason", "")
        if self.run.steps is None:  # a larger micro-batch than before would give it more steps a second
            step = self._training_step
            step.micro_batch = min(step.micro_batch, self._conditions[-1].get("micro_batch", step.micro_batch))
        if self.finished and found is not None:
            self._summarize(found[1])

    def _publish(self, digest: str) -> None:
        """Let the run's folder be read by `models.pretrained`, with what people want to know of its training."""
        latent = get_dataset(self.run.dataset).is_latent
        run = self.run
        training = {"suite": run.suite, "contender": run.model, "seed": run.seed, "name": run.name}
        training |= {"status": self.status, "steps": self.step, "seconds": round(self.elapsed_s, 3), "sha256": digest}
        checkpoints.publish(
            self._store.checkpoint_folder(self.run),
            Description(self.run.config, autoencoder=VAE if latent else PIXELS, training=training),
        )

    def _summarize(self, digest: str) -> None:
        """Write the run's summary, unless there is one of these weights."""
        self._publish(digest)
        known = self._store.read_training(self.run)
        if known is not None and known["digest"] == digest and known["status"] == self.status:
            return
        summary: dict[str, Any] = {
            "name": self.run.name,
            "status": self.status,
            "digest": digest,
            "step": self.step,
            "elapsed_s": round(self.elapsed_s, 3),
            "off_clock_s": {name: round(seconds, 3) for name, seconds in self._off_clock_s.items()},
            "loss": self._log.recent if math.isfinite(self._log.recent) else None,
            "run": self.run.identity(),
            "environment": describe(self.device),
            "execution": self._options,
            "ranks": self.ranks.world,
            "micro_batch": self._training_step.micro_batch,
            "side_by_side": self._side_by_side,
            **self._data.identity,
            **({} if self._continues is None else {"continues": self._continues}),
            **({} if len(self._conditions) < 2 else {"conditions": self._conditions}),
            **({} if not self._reason else {"reason": self._reason}),
        }
        write_json(self._store.training_path(self.run), summary)
