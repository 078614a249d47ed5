"""Train the feature extractor of a pixel dataset: python -m bench.prepare.train_extractor fashion-cnn

The extractor is a classifier. Its accuracy on held-out images is printed and written beside the weights. Images are
shifted by up to a pixel, but no noise is added: features that ignore noise would ignore the noise that few-step
samplers leave.

New weights have a new digest, and every cell that uses them gets a new key. The command then prints the line of
bench/spec/extractors.py to change.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # import this code, whatever else Python's path has of the same names
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.nn.functional as F
import tyro
from safetensors.torch import save
from torch import Tensor
from tqdm import trange

from bench.data.pixels import ImageData, load_dataset, load_held_out
from bench.quality.classifier import SmallClassifier, weights_digest, weights_path
from bench.spec.extractors import get_extractor
from bench.system.command_line import parse, run
from bench.system.errors import BadInputError
from bench.system.files import write_bytes, write_json
from bench.system.progress import interval_s


@dataclass(frozen=True)
class Recipe:
    """Training of an extractor: `max_shift` in pixels; `features` and `pooled` as in `SmallClassifier`."""

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
    """Train a feature extractor and replace its weights."""

    extractor: Annotated[str, tyro.conf.Positional]
    """Which extractor: digits-cnn or fashion-cnn."""
    data: Path | None = None
    """Folder with the files of Fashion-MNIST; default: data, or the folder of Debian's dataset-fashion-mnist."""


def shift(images: Tensor, most: int, rng: torch.Generator) -> Tensor:
    """Shift each image by up to `most` pixels along both axes: uint8 (batch, c, h, w) -> the same shape."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (most,) * 4)
    dy, dx = torch.randint(0, 2 * most + 1, (2, len(images)), generator=rng).tolist()
    return torch.stack([img[:, y : y + height, x : x + width] for img, y, x in zip(padded, dy, dx, strict=True)])


def train(recipe: Recipe, data: ImageData) -> SmallClassifier:
    """Train a classifier, and scale its features to unit mean square."""
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
            _, logits = model(shift(data.images[batch], recipe.max_shift, rng))
            loss = F.cross_entropy(logits, data.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():  # KID depends on the scale of the features; the logits stay the same
        model.eval()
        features = torch.cat([model(part)[0] for part in data.images.split(1000)])
        scale = features.square().mean().sqrt()
        for tensor in (model.hidden.weight, model.hidden.bias):
            tensor.div_(scale)
        model.head.weight.mul_(scale)
    return model


@torch.no_grad()
def accuracy(model: SmallClassifier, data: ImageData) -> float:
    """Share of images that are classified correctly."""
    guesses = torch.cat([model(part)[1].argmax(1) for part in data.images.split(1000)])
    return (guesses == data.labels).float().mean().item()


def main(argv: list[str] | None = None) -> int:
    """Train an extractor; write its weights, and a JSON file with its recipe and accuracy."""
    arguments = parse(Arguments, argv)
    name = arguments.extractor
    if name not in RECIPES:
        raise BadInputError(f"no recipe for extractor {name!r}: choose one of {', '.join(RECIPES)}")
    dataset = RECIPES[name].dataset
    learned, held_out = load_dataset(dataset, arguments.data), load_held_out(dataset, arguments.data)
    model = train(RECIPES[name], learned)
    report = {"held_out": len(held_out.labels), "accuracy": round(accuracy(model, held_out), 4)}
    path = weights_path(name)
    content = save(model.state_dict())
    write_bytes(path, content)
    write_json(path.with_suffix(".json"), asdict(RECIPES[name]) | report)
    print(f"accuracy {report['accuracy']:.2%} on {report['held_out']} held-out images -> {path.name}")
    if (digest := weights_digest(content)) != get_extractor(name).digest:
        print(
            f'new weights: set digest="{digest}" for {name} in bench/spec/extractors.py (was '
            f'"{get_extractor(name).digest}"); every cell that uses the extractor gets a new key'
        )
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
