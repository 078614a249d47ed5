"""Training of one network against the clock, by one process or several ranks that act as one.

On the clock: data, forward, backward, optimizer, EMA. Off it: start-up, warm-up, checkpoints.
"""

import math
import time
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from bench.data.batches import Source
from bench.spec.cells import TrainingRun
from bench.store.records import Store
from bench.system.environment import describe, hardware_name
from bench.system.errors import BadInputError
from bench.system.execution import EAGER, Execution
from bench.system.files import write_json
from bench.system.signals import NONE, Interrupts
from bench.training import checkpoint
from bench.training.clock import TrainingClock
from bench.training.gradients import Gradients
from bench.training.log import MetricsLog
from bench.training.ranks import ALONE, Ranks
from models.diffusion.randomness import key
from models.zoo import build

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Trainer:
    """One run: network, optimizer, EMA, clock. Goes on from the run's checkpoint if there is one.

    Args:
        run: what to train.
        store: where checkpoint, metrics log and summary go.
        device: where to train.
        data: its dataset, encoded.
        execution: how the network is run.
        ranks: the processes that share each batch. Rank 0 has the average and the clock that counts, and writes.
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
        self._gradients = Gradients(run, self.model, device, data, execution, ranks)
        self._scaler = self._gradients.scaler
        recipe = run.recipe
        self._parameters = list(self.model.parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self._ema = [p.detach().clone() for p in self._parameters] if ranks.first else []
        self.clock = TrainingClock(device)
        self.elapsed_s = 0.0  # by the clock of rank 0, as of the last step
        self.step, self.status, self.request = 0, "training", NONE
        self._off_clock_s = {"warm_up": 0.0, "checkpoints": 0.0}
        self._log = MetricsLog(store.metrics_log_path(run))
        hardware = hardware_name(device) if ranks.world == 1 else f"{ranks.world} x {hardware_name(device)}"
        self._hardware, self._execution = execution.on(hardware), execution
        found = ranks.first_does(self._found)
        if ranks.tell(found is not None):
            self._restore(None if found is None else found[0])
            if self.finished and found is not None:
                self._summarize(found[1])

    @property
    def finished(self) -> bool:
        return self.status != "training"

    @property
    def progress(self) -> float:
        """How much of the budget is spent, in its unit (seconds or steps)."""
        return self.elapsed_s if self.run.steps is None else self.step

    @property
    def budget(self) -> float:
        return self.run.recipe.seconds if self.run.steps is None else self.run.steps

    def train_slice(self, seconds: float, bar: tqdm, interrupts: Interrupts) -> None:
        """Train until slice or budget end (at the first step that crosses it), the run diverges or is interrupted.

        All ranks end at the same step. `request` is what any of them was asked for.
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
                elapsed_s=self.elapsed_s,
                status=self.status,
                hardware=self._hardware,
                extra={
                    **self._data.identity,
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
        """A step whose gradients are dropped, off the clock (`Gradients.warm_up`)."""
        started = time.perf_counter()
        moments = 0 if self._optimizer.state else sum(len(_MOMENTS) * p.nbytes for p in self._parameters)
        self._gradients.warm_up(reserve_bytes=moments)  # which the first step of the optimizer will take
        self._off_clock_s["warm_up"] += time.perf_counter() - started

    def _train_step(self) -> None:
        losses = self._gradients.compute(self.step)
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.run.recipe.clip_norm)
        rows = self.ranks.gather(torch.cat((losses, norm.reshape(1))).tolist())
        values = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        # The scaler skips a step whose fp16 gradients overflow; anything else that is not finite ends the run.
        if not math.isfinite(values[0]) or not (math.isfinite(values[3]) or self._scaler.is_enabled()):
            self.status = "diverged"
            return
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        if self.ranks.first:
            decay = min(self.run.recipe.ema_decay, (1 + self.step) / (10 + self.step))
            get_ema_multi_avg_fn(decay)(self._ema, self._parameters, self.step)
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

    def _restore(self, saved: checkpoint.Checkpoint | None) -> None:
        """Go on from a checkpoint, which rank 0 has read."""
        if saved is not None:
            self._fill(saved)
        values: dict[str, Any] = (
            {} if saved is None else {name: getattr(saved, name) for name in ("step", "status", "elapsed_s", "extra")}
        )
        values = self.ranks.tell(values)
        extra = values["extra"]
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
        self.step, self.status, self.elapsed_s = values["step"], values["status"], values["elapsed_s"]
        self.clock = TrainingClock(self.device, self.elapsed_s)
        if self.ranks.first:
            self._log.resume(self.step, extra["log"])
        self._off_clock_s = dict(extra["off_clock_s"])

    def _found(self) -> tuple[checkpoint.Checkpoint, str] | None:
        """The run's checkpoint, and the digest of its average. BadInputError if it is none to go on from here."""
        if (found := checkpoint.load(self._store.checkpoint_folder(self.run), self.run)) is not None:
            self._check(found[0])
        return found

    def _check(self, saved: checkpoint.Checkpoint) -> None:
        if saved.hardware != self._hardware and saved.status == "training":
            raise BadInputError(
                f"{self.run.name} was trained for {saved.elapsed_s:.0f} s on {saved.hardware}, not {self._hardware}: "
                "their seconds do not add up; go on there, or choose another --results"
            )
        for name, digest in self._data.identity.items():
            if (known := saved.extra.get(name, digest)) != digest:
                raise BadInputError(
                    f"{self.run.name} was trained on other data: {name} {known[:12]}, now {digest[:12]}; go on with "
                    "those, or choose another --results"
                )

    def _fill(self, saved: checkpoint.Checkpoint) -> None:
        with torch.no_grad():
            for (name, p), average in zip(self.model.named_parameters(), self._ema, strict=True):
                p.copy_(saved.state[f"model.{name}"])
                average.copy_(saved.ema[name])
                for moment in _MOMENTS:
                    if f"{moment}.{name}" in saved.state:
                        self._optimizer.state[p][moment] = saved.state[f"{moment}.{name}"].to(p.device)

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
            "elapsed_s": round(self.elapsed_s, 3),
            "off_clock_s": {name: round(seconds, 3) for name, seconds in self._off_clock_s.items()},
            "loss": self._log.recent if math.isfinite(self._log.recent) else None,
            "run": self.run.identity(),
            "environment": describe(self.device),
            "execution": str(self._execution),
            "ranks": self.ranks.world,
            "micro_batch": self._gradients.micro_batch,
            **self._data.identity,
        }
        write_json(self._store.training_path(self.run), summary)
