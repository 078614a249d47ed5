"""Ranks: processes that train one network together, one GPU each (data parallelism by torch.distributed).

They take equal parts of each batch and stop at the same step, by the clock of rank 0. Only rank 0 writes files. Ranks
are started by torchrun, or by Slurm through `slurm/train.py`; any other process is alone.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench.machine.devices import own_gpu
from bench.system.errors import BadInputError, complaint

PATIENCE = timedelta(hours=1)  # for rank 0 to verify data or write a checkpoint

T = TypeVar("T")


class ToldError(BadInputError):
    """Bad input that rank 0 has met and reports; raised on the other ranks."""


@dataclass(frozen=True)
class Ranks:
    """This process among `world`. Every method but `share` is a collective: all ranks call it, in the same order."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, batch_size: int) -> range:
        """This rank's positions in a batch. BadInputError if it cannot be shared out equally."""
        size, rest = divmod(batch_size, self.world)
        if rest or not size:
            raise BadInputError(f"{self.world} ranks cannot share a batch of {batch_size} equally: use a multiple")
        return range(self.rank * size, (self.rank + 1) * size)

    def parallel(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with gradients averaged over ranks; itself if this process is alone."""
        if self.world == 1:
            return module
        devices = [device] if device.type == "cuda" else None
        return DistributedDataParallel(
            module, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        """The values of every rank, in order of ranks. They are sent between CPUs, so that no GPU stream waits."""
        if self.world == 1:
            return [list(values)]
        mine = torch.tensor(values, dtype=torch.float64)
        gathered = [torch.empty_like(mine) for _ in range(self.world)]
        dist.all_gather(gathered, mine)
        return [row.tolist() for row in gathered]

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors with those of rank 0."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def tell(self, value: Any) -> Any:
        """The value of rank 0, on every rank."""
        if self.world == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, src=0)
        return told[0]

    def first_does(self, work: Callable[[], T]) -> T | None:
        """Do work() on rank 0; its result there, None on the others, which wait.

        If it fails for bad input or storage, all ranks raise an error: the others ToldError.
        """
        result, failure = None, None
        if self.first:
            try:
                result = work()
            except (BadInputError, OSError) as error:
                if complaint(error) is None:
                    raise
                failure = error
        if (told := self.tell(failure and complaint(failure))) is not None:
            raise failure or ToldError(told)
        return result


ALONE = Ranks()


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the ranks that the environment names (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), inside.

    An exception ends the process of its rank, except KeyboardInterrupt, which all ranks raise at the same step.

    (At KeyboardInterrupt the network is freed before the process group that averages its gradients. If the network were
    the last to hold the group, its destructor would join gloo's threads while it holds the interpreter's lock, for
    which these threads may be waiting.)

    Args:
        device: the requested one; with several GPUs, a rank takes the one of its number on its node.

    Raises:
        BadInputError: the ranks cannot connect.
    """
    world = _world_size()
    if world == 1:
        yield ALONE, device
        return
    backend = "gloo"
    if device.type == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        device = own_gpu("LOCAL_RANK")
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise BadInputError(f"{world} ranks cannot join at {where}: {str(error).splitlines()[0]}") from error
    try:
        yield Ranks(dist.get_rank(), world), device
    except KeyboardInterrupt as error:  # all ranks are at the same step
        traceback.clear_frames(error.__traceback__)
        dist.destroy_process_group()
        raise
    except BaseException as error:
        _leave(error)
    dist.destroy_process_group()


def _world_size() -> int:
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise BadInputError(f"WORLD_SIZE={text} in the environment: must be the number of ranks, 1 or more")
    return int(text)


def _leave(error: BaseException) -> NoReturn:
    """End this process at once; its launcher then ends the other ranks, which may be waiting for this one.

    The process group is not destroyed: that would wait for the other ranks.
    """
    line = complaint(error)
    if line is None:
        traceback.print_exception(error)
    elif not isinstance(error, ToldError):
        print(line, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if line is None else 2)
