"""The tensors of a training in its checkpoint: weights, averaged weights, the optimizer's moments."""

import torch
from torch import nn

from bench.training.checkpoints import Checkpoint, Tensors
from bench.training.ranks import Ranks
from bench.training.step import TrainingStep

_MOMENTS = ("exp_avg", "exp_avg_sq")


def averages_of(model: nn.Module, step: TrainingStep) -> Tensors:
    """The averaged weights by parameter name, and the buffers of the network's state dict."""
    names, buffers = (name for name, _ in model.named_parameters()), dict(model.named_buffers())
    kept = {name: buffers[name] for name in model.state_dict() if name in buffers}
    return dict(zip(names, step.ema, strict=True)) | kept


def state_of(model: nn.Module, step: TrainingStep) -> Tensors:
    """The weights ("model.*") and the optimizer's moments ("exp_avg.*", "exp_avg_sq.*")."""
    state = {}
    for name, p in model.named_parameters():
        state[f"model.{name}"], moments = p.detach(), step.optimizer.state[p]
        state |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS if moment in moments}
    return state


def optimizer_steps(step: TrainingStep) -> int:
    """Updates that the optimizer has made: steps whose gradients overflowed are not among them."""
    return next((int(state.get("step", 0)) for state in step.optimizer.state.values()), 0)


def fill(model: nn.Module, step: TrainingStep, saved: Checkpoint) -> None:
    """Overwrite weights, averages and moments with those of a checkpoint.

    Moments before the first update, which are zero, are left for the optimizer to make, as it then makes all its state.
    """
    moments = _MOMENTS if saved.extra["optimizer_steps"] else ()
    with torch.no_grad():
        for (name, p), average in zip(model.named_parameters(), step.ema, strict=True):
            p.copy_(saved.state[f"model.{name}"])
            average.copy_(saved.ema[name])
            for moment in moments:
                if f"{moment}.{name}" in saved.state:
                    step.optimizer.state[p][moment] = saved.state[f"{moment}.{name}"].to(p.device)


def spread(step: TrainingStep, updates: int, ranks: Ranks) -> None:
    """Give every rank the weights and moments of rank 0, after so many updates of the optimizer."""
    ranks.broadcast([p.data for p in step.parameters])
    for p in step.parameters if updates else ():
        state = step.optimizer.state[p]
        state["step"] = torch.tensor(float(updates), device=p.device)
        for moment in _MOMENTS:
            state.setdefault(moment, torch.zeros_like(p))
        ranks.broadcast([state[moment] for moment in _MOMENTS])
