"""Train the classifier whose features the embedded suite is judged by: python -m bench.metrics.train_extractor

Four fifths of the digits are for training, every fifth one is held out for the accuracy that it prints and writes
beside the weights. Images are shifted by up to one pixel, but never noised: features that learn to overlook noise would
overlook what few-step samplers leave behind.
"""

import json

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from bench.data import load_dataset
from bench.metrics.extractor import SmallClassifier
from bench.metrics.extractor_weights import weights_path

EPOCHS, BATCH_SIZE, LEARNING_RATE = 60, 64, 2e-3


def shift(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shift each image by -1..1 pixels both ways: uint8 (batch, c, h, w) -> the same."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (1, 1, 1, 1))
    dy, dx = torch.randint(0, 3, (2, len(images)), generator=rng).tolist()
    return torch.stack([img[:, y : y + height, x : x + width] for img, y, x in zip(padded, dy, dx, strict=True)])


def main() -> None:
    """Train and write weights and a JSON of how they were made."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    data = load_dataset("digits")
    held_out = torch.arange(len(data.labels)) % 5 == 4
    images, labels = data.images[~held_out], data.labels[~held_out]
    model = SmallClassifier(in_channels=1, num_classes=10)
    steps = EPOCHS * (len(labels) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels), generator=rng)
        for batch in order.split(BATCH_SIZE)[: len(labels) // BATCH_SIZE]:
            loss = F.cross_entropy(model(shift(images[batch], rng)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        # Features of unit mean square, the same logits: the kernel distance is not invariant to their scale.
        scale = model.eval().features(images).square().mean().sqrt()
        for tensor in (model.hidden.weight, model.hidden.bias):
            tensor.div_(scale)
        model.head.weight.mul_(scale)
        correct = model(data.images[held_out]).argmax(1) == data.labels[held_out]
    accuracy = correct.float().mean().item()
    path = weights_path("digits-cnn")
    path.parent.mkdir(exist_ok=True)
    save_file(model.state_dict(), path)
    report = {"dataset": "digits", "held_out": int(held_out.sum()), "accuracy": round(accuracy, 4), "epochs": EPOCHS}
    path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"held-out accuracy {accuracy:.2%} on {int(held_out.sum())} digits -> {path.name}")


if __name__ == "__main__":
    main()
