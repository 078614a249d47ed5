"""The training step: forward, loss and backward in micro-batches, clipping, AdamW, averaged weights.

The trainer runs it, and `bench.profiling` measures it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bench.data.batches import Batch, Source
from bench.machine.devices import supported_dtypes
from bench.machine.dtypes import autocast
from bench.machine.execution import EAGER, Execution
from bench.spec.contenders import TrainingRecipe
from bench.system.errors import BadInputError
from bench.training.ranks import ALONE, Ranks
from bench.training.threads import BatchThreads, add
from models.diffusion.objective import Loss, diffusion_loss
from models.diffusion.schedule import NoiseSchedule, linear_schedule
from models.diffusion.timesteps import TIMESTEPS
from models.fixed_point.unroll import Unroll, make_policy
from models.networks.compiled import compile_regions
from models.networks.network import Network

Predict = Callable[[Tensor, Tensor, Tensor, Unroll], Tensor]
WARM_UP_UNROLLS = (Unroll(0, 1), Unroll(2, 2))  # code compiled for them differs from that for the largest unroll


def amp_dtype(device: torch.device) -> str:
    """Default dtype of training: bf16 where the GPU has it (Ampere and later), fp16 on older ones, fp32 on a CPU."""
    if device.type != "cuda":
        return "fp32"
    return "bf16" if "bf16" in supported_dtypes(device) else "fp16"


def batch_loss(
    predict: Predict,
    schedule: NoiseSchedule,
    batch: Batch,
    device: torch.device,
    unroll: Unroll,
    autocast: Callable[[], AbstractContextManager],
) -> Loss:
    """The loss of a batch.

    It is a function of its own so that everything that only forward needs is freed when it returns, such as autocast's
    copies of weights.
    """
    x0, noise, t, y = (v.to(device, non_blocking=True) for v in (batch.x0, batch.noise, batch.t, batch.y))
    x = schedule.add_noise(x0, noise, t)
    with autocast():
        prediction = predict(x, t, y, unroll)
    return diffusion_loss(schedule, prediction, x0, x, noise, t)


class Forward(nn.Module):
    """A network whose `forward` has all computations with gradients, as data parallelism requires."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, t: Tensor, y: Tensor, unroll: Unroll) -> Tensor:
        return self.model.predict(x, t, y, unroll).value


class TrainingStep:
    """Training steps of one network, with its optimizer and averaged weights.

    Args:
        model: the network, on `device`.
        recipe: how it is trained.
        device: where the step runs.
        data: source of the batches.
        seed: seed of batches and unrolling.
        execution: how the network is run.
        ranks: the processes that share each batch. Rank 0 alone has the averaged weights.
        dtype: "fp32", or autocast to "fp16" (with a gradient scaler) or "bf16"; by default `amp_dtype`.
        init_scale: first scale of the gradient scaler.

    Attributes:
        parameters: the trainable ones, in the network's order.
        ema: their averages on rank 0.
        micro_batch: images per forward and backward.
    """

    def __init__(
        self,
        model: Network,
        recipe: TrainingRecipe,
        device: torch.device,
        data: Source,
        seed: int = 0,
        execution: Execution = EAGER,
        ranks: Ranks = ALONE,
        dtype: str | None = None,
        init_scale: float = 2.0**16,
    ) -> None:
        self._recipe, self._device, self._data, self._seed = recipe, device, data, seed
        self._execution, self._ranks = execution, ranks
        model.set_grad_checkpointing(execution.grad_checkpointing)
        self._forward = ranks.parallel(Forward(model), device)
        self._share = ranks.share(recipe.batch_size)
        self.micro_batch = min(execution.micro_batch or len(self._share), len(self._share))
        # data parallelism of several ranks averages gradients in the backward pass of the whole
        self._threads = BatchThreads(torch.get_num_threads() if device.type == "cpu" and ranks.world == 1 else 1)
        self._compiled: set[tuple[int, int]] = set()  # kinds of unrolls
        if execution.compiled:
            compile_regions(model, self._threads.each(self.micro_batch))
        self._policy, self._schedule = make_policy(*recipe.policy), linear_schedule(TIMESTEPS)
        dtype = dtype or amp_dtype(device)
        self._autocast = partial(autocast, device, dtype)
        self.scaler = torch.amp.GradScaler(device.type, init_scale=init_scale, enabled=dtype == "fp16")
        self.parameters = list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.ema = [p.detach().clone() for p in self.parameters] if ranks.first else []

    def gradients(self, step: int, unroll: Unroll | None = None) -> Tensor:
        """Gradients of this rank's share of a step, averaged over ranks, times the scaler's scale.

        They are left in the parameters. `unroll` replaces the draw of the recipe's policy.

        Returns:
            (3,): this rank's loss, and its parts mse and vb.

        Raises:
            torch.OutOfMemoryError: memory does not suffice.
        """
        return self._accumulate(step, self._parts(), unroll or self._policy.draw(self._seed, step))

    def clip(self) -> Tensor:
        """Unscale and clip the gradients; returns their norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        return torch.nn.utils.clip_grad_norm_(self.parameters, self._recipe.clip_norm)

    def update(self, step: int) -> None:
        """Update the parameters by their gradients, then the averages. `step`: steps taken before."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self._ranks.first:
            decay = min(self._recipe.ema_decay, (1 + step) / (10 + step))
            get_ema_multi_avg_fn(decay)(self.ema, self.parameters, step)

    def take(self, step: int, unroll: Unroll) -> None:
        """Take a whole step with this unroll; the loss is not checked."""
        self.gradients(step, unroll)
        self.clip()
        self.update(step)

    def warm_up(self) -> None:
        """Compute gradients and drop them: lazy initialisation and compilation happen now.

        The step runs with the unroll that takes most memory and, if compiled, with those that compile to other code.
        Where a rank's share does not fit into memory at once, and no micro-batch was asked for, the micro-batch is
        halved on all ranks until it fits.

        Raises:
            BadInputError: the micro-batch that was asked for, or a single image, does not fit.
        """
        # memory that the first step of the optimizer will allocate
        reserve_bytes = 0 if self.optimizer.state else sum(2 * p.nbytes for p in self.parameters)
        unrolls = [Unroll(self._recipe.n_max, self._recipe.m_max)]
        unrolls += WARM_UP_UNROLLS if self._execution.compiled else ()
        for unroll in unrolls:
            while not self._fits(unroll, reserve_bytes):
                if self.micro_batch == 1 or self._execution.micro_batch:
                    raise self.too_large()
                self.micro_batch //= 2

    def too_large(self) -> BadInputError:
        """The error that says what to do where memory does not suffice."""
        return BadInputError(
            f"a training step on {self.micro_batch} image(s) does not fit into the memory of {self._device}; "
            "give a smaller --micro-batch, or --grad-checkpointing, which a run of seconds must begin with"
        )

    def _fits(self, unroll: Unroll, reserve_bytes: int) -> bool:
        """Whether every rank has the memory. Gradients are not averaged: ranks must not wait for one that fails."""
        full, reserved = False, []
        try:
            reserved.append(torch.empty(reserve_bytes, dtype=torch.uint8, device=self._device))
            with self._apart():
                self._accumulate(0, self._parts()[:2], unroll)  # the second adds to gradients that exist
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
            draw = partial(self._data.draw, self._seed, step, self._recipe.batch_size, part)
            with nullcontext() if i == len(parts) - 1 else self._apart():
                losses += self._backward(draw, unroll)
        return losses

    def _backward(self, draw: Callable[[], Batch], unroll: Unroll) -> Tensor:
        """Add the gradients of a part of this rank's share; returns its part of the losses."""
        pieces = self._threads.pieces(self.micro_batch)
        if len(pieces) == 1:
            losses = self._losses(draw(), unroll)  # nothing keeps the batch, only forward needs it
            self.scaler.scale(losses[0]).backward()
            return losses.detach()

        batch = draw()

        def gradients(piece: slice) -> tuple[Tensor, Sequence[Tensor | None]]:
            losses = self._losses(batch.part(piece), unroll)
            scaled = self.scaler.scale(losses[0])
            return losses.detach(), torch.autograd.grad(scaled, self.parameters, allow_unused=True)

        kind = min(unroll.without_grad, 1), min(unroll.with_grad, 2)  # unrolls of one kind run the same code
        new = self._execution.compiled and kind not in self._compiled
        self._compiled.add(kind)
        results = self._threads.map(gradients, pieces, one_by_one=bool(new))
        add(self.parameters, [found for _, found in results])
        return torch.stack([losses for losses, _ in results]).sum(dim=0)

    def _losses(self, batch: Batch, unroll: Unroll) -> Tensor:
        """(3,): what a batch contributes to the means over this rank's share."""
        loss = batch_loss(self._forward, self._schedule, batch, self._device, unroll, self._autocast)
        return torch.stack([value.sum() for value in (loss.total, loss.mse, loss.vb)]) / len(self._share)
