"""Gradients of a training step: over this rank's share of the batch, in micro-batches that fit into memory."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench.data.batches import Source
from bench.spec.cells import TrainingRun
from bench.system.dtypes import autocast
from bench.system.environment import precisions
from bench.system.errors import BadInputError
from bench.system.execution import Execution
from bench.training.ranks import Ranks
from models.diffusion.objective import diffusion_loss
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import TIMESTEPS
from models.fixed_point.unroll import Unroll, make_policy
from models.networks.compiled import compile_regions
from models.networks.dit import DiT
from models.networks.fpdm import FPDM


def amp_precision(device: torch.device) -> str:
    """Mixed precision by device: bf16 where the GPU has it (Ampere and later), fp16 on older ones, fp32 on a CPU."""
    if device.type != "cuda":
        return "fp32"
    return "bf16" if "bf16" in precisions(device) else "fp16"


class _Forward(nn.Module):
    """A network as data parallelism wants it: all that gradients flow through is in `forward`."""

    def __init__(self, model: DiT | FPDM) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, t: Tensor, y: Tensor, unroll: Unroll) -> Tensor:
        return self.model.predict(x, t, y, unroll)[0]


class Gradients:
    """Forward and backward of a run's training steps; gradients are left in the model's parameters.

    Args:
        run: whose recipe, and randomness, it goes by.
        model: its network, on `device`.
        device: where it is.
        data: draws the batches.
        execution: how the network is run.
        ranks: the processes that share each batch.
    """

    def __init__(
        self,
        run: TrainingRun,
        model: DiT | FPDM,
        device: torch.device,
        data: Source,
        execution: Execution,
        ranks: Ranks,
    ) -> None:
        self._run, self._device, self._data, self._execution, self._ranks = run, device, data, execution, ranks
        model.set_grad_checkpointing(execution.grad_checkpointing)
        if execution.compiled:
            compile_regions(model)
        self._forward = ranks.parallel(_Forward(model), device)
        self._share = ranks.share(run.recipe.batch_size)
        self.micro_batch = min(execution.micro_batch or len(self._share), len(self._share))
        self._policy = make_policy(run.recipe.unroll, run.recipe.n_max, run.recipe.m_max)
        self._schedule = linear_schedule(TIMESTEPS)
        self._amp = amp_precision(device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self._amp == "fp16")

    def compute(self, step: int) -> Tensor:
        """Gradients of this rank's share, averaged over ranks, times the scaler's scale.

        Returns:
            (3,): this rank's loss, and its parts mse and vb.

        Raises:
            BadInputError: memory does not suffice, though it did in `warm_up`.
        """
        try:
            return self._accumulate(step, self._parts(), self._policy.draw(self._run.seed, step))
        except torch.OutOfMemoryError as error:
            raise self._too_large() from error

    def warm_up(self, reserve_bytes: int = 0) -> None:
        """Compute gradients and drop them: lazy initialisation and compilation happen now.

        The draws are the one that takes most memory, and those that differ in what is compiled. Where memory does not
        suffice for a rank's share at once, and no micro-batch was asked for, it is halved until it does, on all ranks.

        Args:
            reserve_bytes: memory to leave to what is not there yet.

        Raises:
            BadInputError: nothing fits.
        """
        draws = [Unroll(self._run.recipe.n_max, self._run.recipe.m_max)]
        draws += [Unroll(0, 1), Unroll(2, 2)] if self._execution.compiled else []
        for unroll in draws:
            while not self._fits(unroll, reserve_bytes):
                if self.micro_batch == 1 or self._execution.micro_batch:
                    raise self._too_large()
                self.micro_batch //= 2

    def _too_large(self) -> BadInputError:
        return BadInputError(
            f"step of {self._run.name} on {self.micro_batch} image(s) does not fit into the memory of {self._device}; "
            "give a smaller --micro-batch, or --grad-checkpointing"
        )

    def _fits(self, unroll: Unroll, reserve_bytes: int) -> bool:
        """Whether every rank has the memory. Without averaging: one that fails must not leave the others waiting."""
        full, reserved = False, []
        try:
            reserved.append(torch.empty(reserve_bytes, dtype=torch.uint8, device=self._device))
            with self._apart():
                self._accumulate(0, self._parts()[:2], unroll)  # what a second one adds is there, too
        except torch.OutOfMemoryError:
            full = True
        reserved.clear()
        self._forward.zero_grad()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return not any(row[0] for row in self._ranks.gather([full]))

    def _apart(self) -> AbstractContextManager[None]:
        """Inside, gradients are not averaged over ranks."""
        return self._forward.no_sync() if isinstance(self._forward, DistributedDataParallel) else nullcontext()

    def _parts(self) -> list[range]:
        """This rank's share, in micro-batches."""
        starts = range(self._share.start, self._share.stop, self.micro_batch)
        return [range(start, min(start + self.micro_batch, self._share.stop)) for start in starts]

    def _accumulate(self, step: int, parts: list[range], unroll: Unroll) -> Tensor:
        losses = torch.zeros(3, device=self._device)
        for i, part in enumerate(parts):
            weight = len(part) / len(self._share)
            with nullcontext() if i == len(parts) - 1 else self._apart():
                means = self._losses(step, part, unroll)
                self.scaler.scale(means[0] * weight).backward()
            losses += weight * means.detach()
        return losses

    def _losses(self, step: int, part: range, unroll: Unroll) -> Tensor:
        """(3,): means over the part of loss, mse and vb."""
        batch = self._data.draw(self._run.seed, step, self._run.recipe.batch_size, part)
        x0, noise, t, y = (v.to(self._device, non_blocking=True) for v in (batch.x0, batch.noise, batch.t, batch.y))
        x = self._schedule.add_noise(x0, noise, t)
        with autocast(self._device, self._amp):
            prediction = self._forward(x, t, y, unroll)
        loss = diffusion_loss(self._schedule, prediction, x0, x, noise, t)
        return torch.stack([part.mean() for part in (loss.total, loss.mse, loss.vb)])
