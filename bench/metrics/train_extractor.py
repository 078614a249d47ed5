"""Train the classifier whose features the embedded suite is judged by: python -m bench.metrics.train_extractor

Four fifths of the digits are for training, every fifth one is held out for the accuracy that it prints and writes beside
the weights. Inputs are shifted by up to one pixel and get a little noise: features should notice shape, not dither.
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


def augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Shift each image by -1..1 pixels both ways and add noise: uint8 (batch, c, h, w) -> the same."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (1, 1, 1, 1))
    dy, dx = torch.randint(0, 3, (2, len(images)), generator=rng).tolist()
    shifted = torch.stack(
        [img[:, y : y + height, x : x + width] for img, y, x in zip(padded, dy, dx, strict=True)]
    )
    noise = 8 * torch.randn(shifted.shape, generator=rng)
    return (shifted + noise).round().clamp(0, 255).to(torch.uint8)


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
            loss = F.cross_entropy(model(augment(images[batch], rng)), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        correct = model.eval()(data.images[held_out]).argmax(1) == data.labels[held_out]
    accuracy = correct.float().mean().item()
    path = weights_path("digits-cnn")
    path.parent.mkdir(exist_ok=True)
    save_file(model.state_dict(), path)
    report = {"dataset": "digits", "held_out": int(held_out.sum()), "accuracy": round(accuracy, 4), "epochs": EPOCHS}
    path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"held-out accuracy {accuracy:.2%} on {int(held_out.sum())} digits -> {path.name}")


if __name__ == "__main__":
    main()
