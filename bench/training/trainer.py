"""Trainer of one network for a budget of seconds or steps, in one process or in several ranks.

On the clock: data, forward, backward, optimizer, EMA. Off it: start-up, warm-up, checkpoints.
"""

import math
import time

import torch
from tqdm import tqdm

from bench.data.batches import Source
from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.system.devices import hardware_name
from bench.system.execution import EAGER, Execution
from bench.system.files import write_json
from bench.system.provenance import describe
from bench.system.signals import NONE, Interrupts
from bench.training import checkpoints
from bench.training.clock import TrainingClock
from bench.training.log import MetricsLog
from bench.training.ranks import ALONE, Ranks
from bench.training.starts import resumable
from bench.training.step import TrainingStep
from models.diffusion.randomness import key
from models.families import build

_MOMENTS = ("exp_avg", "exp_avg_sq")


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
    """

    def __init__(
        self,
        run: TrainingRun,
        store: Store,
        device: torch.device,
        data: Source,
        execution: Execution = EAGER,
        ranks: Ranks = ALONE,
    ) -> None:
        self.run, self.device, self.ranks, self._store, self._data = run, device, ranks, store, data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(run.seed, "initialization", *map(ord, run.model)))
            self.model = build(run.config)
        self.model.to(device).train()
        self._training_step = TrainingStep(self.model, run.recipe, device, data, run.seed, execution, ranks)
        self._parameters, self._ema = self._training_step.parameters, self._training_step.ema
        self._optimizer, self._scaler = self._training_step.optimizer, self._training_step.scaler
        self.clock = TrainingClock(device)
        self.elapsed_s = 0.0  # by the clock of rank 0, as of the last step
        self.step, self.status, self.request = 0, "training", NONE
        self._off_clock_s = {"warm_up": 0.0, "checkpoints": 0.0}
        self._log = MetricsLog(store.metrics_log_path(run))
        hardware = hardware_name(device) if ranks.world == 1 else f"{ranks.world} x {hardware_name(device)}"
        self._hardware, self._execution = execution.on(hardware), execution
        self._continues: str | None = None  # name of the shorter run that this one went on from
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
        if self.ranks.first:
            self._write()
        self.ranks.wait()

    def _write(self) -> None:
        started = time.perf_counter()
        optimizer_steps = next((int(state.get("step", 0)) for state in self._optimizer.state.values()), 0)
        names = [name for name, _ in self.model.named_parameters()]
        buffers = dict(self.model.named_buffers())
        kept = {name: buffers[name] for name in self.model.state_dict() if name in buffers}
        state = {}
        for name, p in zip(names, self._parameters, strict=True):
            state[f"model.{name}"], moments = p.detach(), self._optimizer.state[p]
            state |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS if moment in moments}
        self._log.flush()
        digest = checkpoints.save(
            self._store.checkpoint_folder(self.run),
            self.run,
            checkpoints.Checkpoint(
                ema=dict(zip(names, self._ema, strict=True)) | kept,
                state=state,
                step=self.step,
                elapsed_s=self.elapsed_s,
                status=self.status,
                hardware=self._hardware,
                extra={
                    **self._data.identity,
                    "optimizer_steps": optimizer_steps,
                    "scaler": self._scaler.state_dict(),
                    "log": self._log.open_window,
                    "off_clock_s": self._off_clock_s,
                    "continues": self._continues,
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

    def _train_step(self) -> None:
        try:
            losses = self._training_step.gradients(self.step)
        except torch.OutOfMemoryError as error:  # although it sufficed in `warm_up`
            raise self._training_step.too_large() from error
        norm = self._training_step.clip()
        rows = self.ranks.gather(torch.cat((losses, norm.reshape(1))).tolist())
        values = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        # The scaler skips a step whose fp16 gradients overflow; anything else that is not finite ends the run.
        if not math.isfinite(values[0]) or not (math.isfinite(values[3]) or self._scaler.is_enabled()):
            self.status = "diverged"
            return
        self._training_step.update(self.step)
        self.step += 1
        self.elapsed_s = self.clock.read()
        self._log.add(self.step, self.elapsed_s, *values)

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
            self._fill(saved)
        self.step, self.status, self.elapsed_s, extra = values
        self.ranks.broadcast([p.data for p in self._parameters])
        if count := int(extra["optimizer_steps"]):
            for p in self._parameters:
                state = self._optimizer.state[p]
                state["step"] = torch.tensor(float(count), device=p.device)
                for moment in _MOMENTS:
                    state.setdefault(moment, torch.zeros_like(p))
                self.ranks.broadcast([state[moment] for moment in _MOMENTS])
        if extra["scaler"]:  # empty where a run was trained without one
            self._scaler.load_state_dict(extra["scaler"])
        self.clock = TrainingClock(self.device, self.elapsed_s)
        self._off_clock_s, self._continues = dict(extra["off_clock_s"]), extra.get("continues")
        if self.finished and found is not None:
            self._summarize(found[1])

    def _fill(self, saved: checkpoints.Checkpoint) -> None:
        with torch.no_grad():
            for (name, p), average in zip(self.model.named_parameters(), self._ema, strict=True):
                p.copy_(saved.state[f"model.{name}"])
                average.copy_(saved.ema[name])
                for moment in _MOMENTS:
                    if f"{moment}.{name}" in saved.state:
                        self._optimizer.state[p][moment] = saved.state[f"{moment}.{name}"].to(p.device)

    def _summarize(self, digest: str) -> None:
        """Write the run's summary, unless there is one of these weights."""
        known = self._store.read_training(self.run)
        if known is not None and known["digest"] == digest and known["status"] == self.status:
            return
        summary = {
            "name": self.run.name,
            "status": self.status,
            "digest": digest,
            "step": self.step,
            "elapsed_s": round(self.elapsed_s, 3),
            "off_clock_s": {name: round(seconds, 3) for name, seconds in self._off_clock_s.items()},
            "loss": self._log.recent if math.isfinite(self._log.recent) else None,
            "run": self.run.identity(),
            "environment": describe(self.device),
            "execution": str(self._execution),
            "ranks": self.ranks.world,
            "micro_batch": self._training_step.micro_batch,
            **self._data.identity,
            **({} if self._continues is None else {"continues": self._continues}),
        }
        write_json(self._store.training_path(self.run), summary)
