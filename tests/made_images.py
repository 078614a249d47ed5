"""Small datasets of images in the formats that the real ones come in, and a small autoencoder."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

SIZES = ((40, 40), (50, 41), (40, 64), (90, 80), (131, 70))  # width, height


def picture(seed, size=None, mode="RGB"):
    """A smooth picture, unlike its mirror image."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return coarse.resize(size or SIZES[seed % len(SIZES)], Image.Resampling.BICUBIC).convert(mode)


def encoded(seed, form="jpeg", **options):
    file = io.BytesIO()
    picture(seed, **options).save(file, form)
    return file.getvalue()


def make_imagenet(path, classes=(8, 7, 7)):
    """train/<wnid>/<name>.JPEG, so many of each class; returns the bytes in the order of the dataset."""
    images = []
    for label, count in enumerate(classes):
        folder = path / "train" / f"n0144{label}764"
        folder.mkdir(parents=True)
        for i in range(count):
            images.append(encoded(len(images)))
            (folder / f"{folder.name}_{i}.JPEG").write_bytes(images[-1])
    return images


def make_files(folder, count=7):
    """PNG, JPEG and WebP files in two folders."""
    for i in range(count):
        file = folder / f"{i // 4:05d}" / f"{i:05d}.{('png', 'JPG', 'webp')[i % 3]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(i, ("png", "jpeg", "webp")[i % 3]))
    (folder / "README.txt").write_text("no image")


def make_vae(path, seed=0, **options):
    """An AutoencoderKL with 4 latent channels that makes one pixel of 8x8, as `save_pretrained` writes it."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        **options,
    )
    vae.save_pretrained(path)
    return path


def make_inception(path):
    """Random weights of torch-fidelity's Inception, which neither shrink nor blow up its features, in a file."""
    from torch_fidelity import feature_extractor_inceptionv3 as inceptionv3

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inceptionv3, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(inceptionv3.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = inceptionv3.FeatureExtractorInceptionV3("random", ["2048"])
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
    torch.save(network.state_dict(), path)
    return path


def pictures(count, seed=0):
    """Noise, (count, 3, 24, 24)."""
    return torch.randint(0, 256, (count, 3, 24, 24), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
