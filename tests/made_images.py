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


def dinov2_state(seed=0, dimensions=384, depth=12):
    """Random weights of DINOv2 under the names of its own files; by default of the smallest size, ViT-S/14."""
    wide = 4 * dimensions
    block = {
        "norm1.weight": (dimensions,), "norm1.bias": (dimensions,), "attn.qkv.weight": (3 * dimensions, dimensions),
        "attn.qkv.bias": (3 * dimensions,), "attn.proj.weight": (dimensions, dimensions),
        "attn.proj.bias": (dimensions,),
        "ls1.gamma": (dimensions,), "norm2.weight": (dimensions,), "norm2.bias": (dimensions,),
        "mlp.fc1.weight": (wide, dimensions), "mlp.fc1.bias": (wide,), "mlp.fc2.weight": (dimensions, wide),
        "mlp.fc2.bias": (dimensions,), "ls2.gamma": (dimensions,),
    }  # fmt: skip
    shapes = {
        "cls_token": (1, 1, dimensions), "pos_embed": (1, 1 + 37**2, dimensions), "mask_token": (1, dimensions),
        "patch_embed.proj.weight": (dimensions, 3, 14, 14), "patch_embed.proj.bias": (dimensions,),
        **{f"blocks.{i}.{name}": shape for i in range(depth) for name, shape in block.items()},
        "norm.weight": (dimensions,), "norm.bias": (dimensions,),
    }  # fmt: skip
    generator, state = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith(("norm1.weight", "norm2.weight", "norm.weight", "gamma")):
            state[name] = 1 + 0.1 * noise
        elif name.endswith("weight"):
            state[name] = noise / noise[0].numel() ** 0.5
        else:
            state[name] = noise if name in ("cls_token", "pos_embed") else 0.1 * noise
    return state


def make_dinov2(path, **changes):
    """`dinov2_state` in a file; 88 MB."""
    torch.save(dinov2_state(**changes), path)
    return path


def pictures(count, seed=0):
    """Noise, (count, 3, 24, 24)."""
    return torch.randint(0, 256, (count, 3, 24, 24), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
