"""Equal-wall-clock training. A `Trainer` trains one network; `train_together` gives twins their seconds in turns.

On the clock: data, forward, backward, optimizer, EMA. Off it: start-up, warm-up, checkpoints.
"""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from bench import checkpoint
from bench.cells import TrainingRun
from bench.clock import TrainingClock
from bench.data import load_dataset
from bench.data.batches import BatchSource
from bench.environment import describe, hardware_name, precisions
from bench.errors import BadInputError
from bench.execution import EAGER, Execution
from bench.interrupts import Interrupts
from bench.metrics_log import MetricsLog
from bench.precision import autocast
from bench.progress import interval_s
from bench.store import Store, write_json
from models.autoencoder import PixelAutoencoder
from models.compiled import compile_regions
from models.objective import Loss, diffusion_loss
from models.randomness import key
from models.schedule import linear_schedule
from models.timesteps import TIMESTEPS
from models.unroll import Unroll, make_policy
from models.zoo import build

_MOMENTS = ("exp_avg", "exp_avg_sq")


def amp_precision(device: torch.device) -> str:
    """Mixed precision by device: bf16 where the GPU has it (Ampere and later), fp16 on older ones, fp32 on a CPU."""
    if device.type != "cuda":
        return "fp32"
    return "bf16" if "bf16" in precisions(device) else "fp16"


class Trainer:
    """One run: network, optimizer, EMA, clock. Goes on from the run's checkpoint if there is one.

    Args:
        run: what to train.
        store: where checkpoint, metrics log and summary go.
        device: where to train.
        data: its dataset, encoded.
        execution: how the network is run.
    """

    def __init__(
        self, run: TrainingRun, store: Store, device: torch.device, data: BatchSource, execution: Execution = EAGER
    ) -> None:
        self.run, self.device, self._store, self._data = run, device, store, data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(run.seed, "initialization", *map(ord, run.model)))
            self.model = build(run.config)
        self.model.to(device).train()
        self.model.set_grad_checkpointing(execution.grad_checkpointing)
        if execution.compiled:
            compile_regions(self.model)
        recipe = run.recipe
        self._parameters = list(self.model.parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self._ema = [p.detach().clone() for p in self._parameters]
        self._policy = make_policy(recipe.unroll, recipe.n_max, recipe.m_max)
        self._schedule = linear_schedule(TIMESTEPS)
        self._amp = amp_precision(device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._amp == "fp16")
        self.clock = TrainingClock(device)
        self.step, self.status = 0, "training"
        self._off_clock_s = {"warm_up": 0.0, "checkpoints": 0.0}
        self._log = MetricsLog(store.metrics_log_path(run))
        self._hardware, self._execution = execution.on(hardware_name(device)), execution
        if (found := checkpoint.load(store.checkpoint_folder(run), run)) is not None:
            self._restore(found[0])
            if self.finished:
                self._summarize(found[1])

    @property
    def finished(self) -> bool:
        return self.status != "training"

    @property
    def progress(self) -> float:
        """How much of the budget is spent, in its unit (seconds or steps)."""
        return self.clock.read() if self.run.steps is None else self.step

    @property
    def budget(self) -> float:
        return self.run.recipe.seconds if self.run.steps is None else self.run.steps

    def train_slice(self, seconds: float, bar: tqdm, interrupts: Interrupts) -> None:
        """Train until slice or budget end (at the first step that crosses it), the run diverges or is interrupted."""
        start = self.clock.read()
        with self.clock.running():
            while not (self.finished or interrupts.requested) and self.clock.read() - start < seconds:
                self._train_step()
                self._show(bar)

    def save(self) -> None:
        """Write the checkpoint and, when the run has ended, its summary. Off the clock."""
        started = time.perf_counter()
        count = next((int(state.get("step", 0)) for state in self._optimizer.state.values()), 0)
        names = [name for name, _ in self.model.named_parameters()]
        buffers = dict(self.model.named_buffers())
        kept = {name: buffers[name] for name in self.model.state_dict() if name in buffers}
        state = {f"model.{name}": p.detach() for name, p in zip(names, self._parameters, strict=True)}
        for name, p in zip(names, self._parameters, strict=True):
            for moment in _MOMENTS:
                if moment in self._optimizer.state[p]:
                    state[f"{moment}.{name}"] = self._optimizer.state[p][moment]
        self._log.flush()
        digest = checkpoint.save(
            self._store.checkpoint_folder(self.run),
            self.run,
            checkpoint.Checkpoint(
                ema=dict(zip(names, self._ema, strict=True)) | kept,
                state=state,
                step=self.step,
                elapsed_s=self.clock.read(),
                status=self.status,
                hardware=self._hardware,
                extra={
                    "optimizer_steps": count,
                    "scaler": self._scaler.state_dict(),
                    "log": self._log.open_window,
                    "off_clock_s": self._off_clock_s,
                },
            ),
        )
        self._off_clock_s["checkpoints"] += time.perf_counter() - started
        if self.finished:
            self._summarize(digest)

    def warm_up(self) -> None:
        """Forward and backward whose results are dropped: lazy initialisation happens off the clock, compilation too.

        The draws of the two are those that differ in what is compiled.
        """
        started = time.perf_counter()
        for unroll in (Unroll(0, 1), Unroll(2, 2)) if self._execution.compiled else (None,):
            self._scaler.scale(self._loss(unroll).total.mean()).backward()
        self._optimizer.zero_grad()
        self._off_clock_s["warm_up"] += time.perf_counter() - started

    def _loss(self, unroll: Unroll | None = None) -> Loss:
        recipe = self.run.recipe
        batch = self._data.draw(self.run.seed, self.step, recipe.batch_size)
        x0, noise, t, y = (v.to(self.device, non_blocking=True) for v in (batch.x0, batch.noise, batch.t, batch.y))
        x = self._schedule.add_noise(x0, noise, t)
        with autocast(self.device, self._amp):
            prediction, _ = self.model.predict(x, t, y, unroll or self._policy.draw(self.run.seed, self.step))
        return diffusion_loss(self._schedule, prediction, x0, x, noise, t)

    def _train_step(self) -> None:
        loss = self._loss()
        total, mse, vb = (part.mean() for part in (loss.total, loss.mse, loss.vb))
        self._scaler.scale(total).backward()
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.run.recipe.clip_norm)
        values = torch.stack([total.detach(), mse.detach(), vb.detach(), norm]).tolist()
        # The scaler skips a step whose fp16 gradients overflow; anything else that is not finite ends the run.
        if not math.isfinite(values[0]) or not (math.isfinite(values[3]) or self._scaler.is_enabled()):
            self.status = "diverged"
            return
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        decay = min(self.run.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(self._ema, self._parameters, self.step)
        self.step += 1
        self._log.add(self.step, self.clock.read(), *values)
        if self.progress >= self.budget:
            self.status = "done"

    def _show(self, bar: tqdm) -> None:
        bar.n = min(self.progress, self.budget)
        elapsed = self.clock.read()
        rate = self.step / elapsed if elapsed > 0 else 0.0
        left = self.budget - self.progress
        left_s = left if self.run.steps is None else left / max(rate, 1e-9)
        bar.set_postfix_str(
            f"loss {self._log.recent:.3f}, {rate:.1f} steps/s, {max(left_s, 0):.0f} s left", refresh=False
        )
        bar.update(0)

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        if saved.hardware != self._hardware and saved.status == "training":
            raise BadInputError(
                f"{self.run.name} was trained for {saved.elapsed_s:.0f} s on {saved.hardware}, not {self._hardware}: "
                "their seconds do not add up; go on there, or choose another --results"
            )
        named = list(self.model.named_parameters())
        with torch.no_grad():
            for (name, p), average in zip(named, self._ema, strict=True):
                p.copy_(saved.state[f"model.{name}"])
                average.copy_(saved.ema[name])
                if f"{_MOMENTS[0]}.{name}" in saved.state:
                    moments = {m: saved.state[f"{m}.{name}"].to(p.device) for m in _MOMENTS}
                    count = torch.tensor(float(saved.extra["optimizer_steps"]), device=p.device)
                    self._optimizer.state[p] = {"step": count, **moments}
        self._scaler.load_state_dict(saved.extra["scaler"])
        self.step, self.status = saved.step, saved.status
        self.clock = TrainingClock(self.device, saved.elapsed_s)
        self._log.resume(saved.step, saved.extra["log"])
        self._off_clock_s = dict(saved.extra["off_clock_s"])

    def _summarize(self, digest: str) -> None:
        """Write the run's summary, unless the one that is there is of these weights."""
        known = self._store.read_training(self.run)
        if known is not None and known["digest"] == digest and known["status"] == self.status:
            return
        summary = {
            "name": self.run.name,
            "status": self.status,
            "digest": digest,
            "step": self.step,
            "elapsed_s": round(self.clock.read(), 3),
            "off_clock_s": {name: round(seconds, 3) for name, seconds in self._off_clock_s.items()},
            "loss": self._log.recent if math.isfinite(self._log.recent) else None,
            "run": self.run.identity(),
            "environment": describe(self.device),
            "execution": str(self._execution),
        }
        write_json(self._store.training_path(self.run), summary)


def train_together(
    runs: Sequence[TrainingRun], store: Store, device: torch.device, execution: Execution = EAGER
) -> None:
    """Train runs of one suite, each for its own budget, in alternating slices: fair where a machine's speed drifts.

    Goes on from checkpoints; writes one after every slice, and when interrupted, after the step under way.

    Raises:
        BadInputError: a checkpoint is unusable, of other hardware, or being trained by another process.
        KeyboardInterrupt: SIGINT or SIGTERM came; everything is saved.
    """
    if not runs:
        return
    data = load_dataset(runs[0].dataset)
    config, recipe = runs[0].config, runs[0].recipe
    x0 = PixelAutoencoder().encode(data.images)
    source = BatchSource(x0, data.labels, config.num_classes, recipe.class_dropout, TIMESTEPS)
    with ExitStack() as locks:
        for run in runs:
            locks.enter_context(checkpoint.exclusive(store.checkpoint_folder(run)))
        trainers = [Trainer(run, store, device, source, execution) for run in runs]
        _take_turns([trainer for trainer in trainers if not trainer.finished])


def _take_turns(unfinished: Sequence[Trainer]) -> None:
    if not unfinished:
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
        )
        for i, t in enumerate(unfinished)
    ]
    interrupts = Interrupts()
    with ExitStack() as stack:
        for bar in bars:
            stack.enter_context(bar)
        stack.enter_context(interrupts.deferred())
        for trainer in unfinished:
            trainer.warm_up()
        while any(not trainer.finished for trainer in unfinished) and not interrupts.requested:
            for trainer, bar in zip(unfinished, bars, strict=True):
                if not trainer.finished:
                    trainer.train_slice(trainer.run.recipe.slice_s, bar, interrupts)
                    trainer.save()
    if interrupts.requested:
        raise KeyboardInterrupt
