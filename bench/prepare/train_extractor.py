"""Train the classifier whose features a pixel suite is judged by: python -m bench.prepare.train_extractor fashion-cnn

It learns from the images that are not held out: of digits, every fifth one is, of Fashion-MNIST the test split. The
accuracy on those is printed, and written beside the weights. Images are shifted by up to a pixel, but never noised:
features that learn to overlook noise would overlook what few-step samplers leave behind.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import tyro
from safetensors.torch import save
from torch import Tensor
from tqdm import trange

from bench.data.pixels import ImageData, load_dataset, load_held_out
from bench.quality.extractor import SmallClassifier
from bench.quality.extractor_weights import weights_path
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError
from bench.system.files import write_json, write_whole
from bench.system.progress import interval_s


@dataclass(frozen=True)
class Recipe:
    """How an extractor is made; `max_shift` in pixels, `features` and `pooled` of the network."""

    dataset: str
    epochs: int
    batch_size: int
    learning_rate: float
    features: int
    max_shift: int
    pooled: int = 2


RECIPES = {
    "digits-cnn": Recipe("digits", 60, 64, 2e-3, 64, 1),
    "fashion-cnn": Recipe("fashion", 10, 128, 2e-3, 128, 1, pooled=4),
}


@dataclass(frozen=True)
class Arguments:
    """Train a feature extractor; its weights replace those that are there, and with them every cell's identity."""

    extractor: Annotated[str, tyro.conf.Positional]
    """digits-cnn or fashion-cnn."""
    data: Path | None = None
    """Folder with the files of Fashion-MNIST; by default data, or where Debian's dataset-fashion-mnist has them."""


def shift(images: Tensor, most: int, rng: torch.Generator) -> Tensor:
    """Shift each image by up to `most` pixels both ways: uint8 (batch, c, h, w) -> the same."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (most,) * 4)
    dy, dx = torch.randint(0, 2 * most + 1, (2, len(images)), generator=rng).tolist()
    return torch.stack([img[:, y : y + height, x : x + width] for img, y, x in zip(padded, dy, dx, strict=True)])


def splits(dataset: str, folder: Path | None = None) -> tuple[ImageData, ImageData]:
    """What to learn from, and what is held out; `folder` and errors as those of `load_dataset`."""
    data = load_dataset(dataset, folder)
    if dataset == "fashion":
        return data, load_held_out(folder)
    held_out = torch.arange(len(data.labels)) % 5 == 4
    return (
        ImageData(data.images[~held_out], data.labels[~held_out]),
        ImageData(data.images[held_out], data.labels[held_out]),
    )


def train(recipe: Recipe, data: ImageData) -> SmallClassifier:
    """A classifier, its features scaled to unit mean square."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    count, size = len(data.labels), recipe.batch_size
    model = SmallClassifier(data.images.shape[1], num_classes=10, features=recipe.features, pooled=recipe.pooled)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-2)
    steps = recipe.epochs * (count // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps)
    for _ in trange(recipe.epochs, desc="train", unit="epoch", mininterval=interval_s()):
        order = torch.randperm(count, generator=rng)
        for batch in order.split(size)[: count // size]:
            loss = F.cross_entropy(model(shift(data.images[batch], recipe.max_shift, rng)), data.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():  # the same logits: the kernel distance is not invariant to the features' scale
        model.eval()
        features = torch.cat([model.features(part) for part in data.images.split(1000)])
        scale = features.square().mean().sqrt()
        for tensor in (model.hidden.weight, model.hidden.bias):
            tensor.div_(scale)
        model.head.weight.mul_(scale)
    return model


@torch.no_grad()
def accuracy(model: SmallClassifier, data: ImageData) -> float:
    """The part of images that are given their own label."""
    guesses = torch.cat([model(part).argmax(1) for part in data.images.split(1000)])
    return (guesses == data.labels).float().mean().item()


def main(argv: list[str] | None = None) -> int:
    """Train and write weights and a JSON of how they were made."""
    arguments = parse(Arguments, argv)
    name = arguments.extractor
    if name not in RECIPES:
        raise BadInputError(f"unknown extractor {name!r}: choose one of {', '.join(RECIPES)}")
    learned, held_out = splits(RECIPES[name].dataset, arguments.data)
    model = train(RECIPES[name], learned)
    report = {"held_out": len(held_out.labels), "accuracy": round(accuracy(model, held_out), 4)}
    path = weights_path(name)
    content = save(model.state_dict())
    write_whole(path, lambda file: file.write(content))
    write_json(path.with_suffix(".json"), asdict(RECIPES[name]) | report)
    print(f"accuracy {report['accuracy']:.2%} on {report['held_out']} images held out -> {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
