"""Runs public code, the official DiT or the released FPDM, in a process of its own: python public_side.py DIR

It is told on standard input what to do, a JSON object a line, and answers on standard output in the same way. It
imports the checkout in DIR and nothing of this project: both have a package called `models`. It uses the public code as
its training script does, with malloc as it is by default.

    {"make": {...}}                      build the network with random weights, save them with inputs and results
    {"part": NAME, "repeats": COUNT}     seconds of one call
"""

import importlib
import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from safetensors.torch import save_file


class _Annotation:
    """Stands in for jaxtyping, which the released code needs for annotations only."""

    def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
        return item[0]


def make(order: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """The parts that can be timed. `order`: kind, config, batch, threads, forward, unroll, file (see `peers`)."""
    torch.set_num_threads(order["threads"])
    torch.manual_seed(0)
    fixed_point = order["kind"] == "fpdm"
    if fixed_point and importlib.util.find_spec("jaxtyping") is None:
        module = types.ModuleType("jaxtyping")
        module.Float = module.Shaped = _Annotation  # type: ignore[attr-defined]
        sys.modules["jaxtyping"] = module
    create_diffusion = importlib.import_module("diffusion").create_diffusion
    dit: Callable[..., torch.nn.Module] = importlib.import_module("models").DiT
    options: dict[str, Any] = {}
    if fixed_point:
        options = {"fixed_point": True, "fixed_point_pre_post_timestep_conditioning": False}
        options |= {"use_gradient_checkpointing": False}
    model = dit(**order["config"], **options)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad and not p.any():  # adaLN-zero makes every block the identity
                p.normal_(0, 0.02)
    schedule = {"predict_v": True, "use_zero_terminal_snr": True} if fixed_point else {}
    diffusion = create_diffusion(timestep_respacing="", **schedule)
    config, batch = order["config"], order["batch"]
    x = torch.randn(batch, config["in_channels"], config["input_size"], config["input_size"])
    t, y = torch.randint(0, 1000, (batch,)), torch.randint(0, config["num_classes"], (batch,))

    def iterate(without_grad: int, with_grad: int) -> None:
        for name, count in (("no_grad", without_grad), ("with_grad", with_grad)):
            for end in ("min", "max"):
                setattr(model, f"fixed_point_{name}_{end}_iters", count)

    model.eval()
    iterate(*order["unroll"])
    prediction = model(x, t, y)
    probe = torch.randn_like(prediction)
    (prediction * probe).mean().backward()
    gradients = {f"gradient.{name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    iterate(0, order["forward"])
    with torch.no_grad():
        prediction = model(x, t, y)
    weights = {f"weight.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    save_file({"x": x, "t": t, "y": y, "probe": probe, "prediction": prediction, **weights, **gradients}, order["file"])

    averaged = deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0)

    def forward() -> None:
        model.eval()
        iterate(0, order["forward"])
        with torch.no_grad():
            model(x, t, y)

    def training_step() -> None:
        model.train()
        iterate(*order["unroll"])
        loss = diffusion.training_losses(model, x, torch.randint(0, 1000, (batch,)), {"y": y})["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for average, p in zip(averaged.parameters(), model.parameters(), strict=True):
                average.mul_(0.9999).add_(p, alpha=0.0001)
        loss.item()

    return {"forward": forward, "training step": training_step}


def main(folder: str) -> None:
    """Follow orders until standard input ends."""
    sys.path.insert(0, folder)
    answers, sys.stdout = sys.stdout, sys.stderr  # public code may print
    parts: dict[str, Callable[[], object]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        seconds = 0.0
        if "make" in order:
            parts = make(order["make"])
        else:
            started = time.perf_counter()
            for _ in range(order["repeats"]):
                parts[order["part"]]()
            seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
