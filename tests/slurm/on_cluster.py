"""Helpers of the Slurm tests: waiting, processes, random images, a small autoencoder, Inception with random weights."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]


def wait_until(condition, seconds, what, pause_s=0.5):
    """Wait for the first true value of condition() and return it; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(pause_s)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def python(*arguments, check=True, timeout=600, **environment):
    """Run a command from the root of the repository, as users do."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


@contextmanager
def started(*arguments, **environment):
    """Run a command in the background while the context lasts, with stdout and stderr as one text."""
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def queued():
    """States of the jobs that have not ended, by job id."""
    out = subprocess.run(["squeue", "--noheader", "--array", "--format=%i|%T"], capture_output=True, text=True).stdout
    return dict(line.split("|") for line in out.split())


def processes(text):
    """Ids of the processes whose command line contains a text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(int(folder.name))
    return found


def make_picture(rng, width, height):
    """A random picture of smooth colours with some noise."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = rng.uniform(1, 9, (3, 2))
    planes = [np.sin(a * x * 3 + b * y * 3) for a, b in waves]
    picture = 127 + 100 * np.stack(planes, -1) + rng.normal(0, 8, (height, width, 3))
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def make_imagenet(folder, images=64, classes=4):
    """Write images in the layout of ImageNet, train/<wnid>/<wnid>_<n>.JPEG; returns the folder."""
    rng = np.random.default_rng(0)
    for i in range(images):
        wnid = f"n{1440764 + 1000 * (i % classes):08d}"
        path = folder / "train" / wnid / f"{wnid}_{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_picture(rng, *rng.integers(270, 330, 2)).save(path, "jpeg")
    return folder


def make_vae(folder):
    """Save a small AutoencoderKL with downsampling by 8 and four latent channels; returns the folder."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    widths = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1}
    AutoencoderKL(latent_channels=4, sample_size=256, **kinds, **widths).save_pretrained(folder)
    return folder


def make_inception(path, monkeypatch):
    """Save random weights of Inception in torch-fidelity's format; returns the path."""
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    torch.manual_seed(0)
    caught = {}

    def no_download(*arguments, **keywords):
        return {}

    def keep(self, state, *arguments, **keywords):
        caught.update(torch.nn.Module.state_dict(self))

    with monkeypatch.context() as patch:
        patch.setattr(inception, "load_state_dict_from_url", no_download)
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", keep)
        inception.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save({name: tensor.clone() for name, tensor in caught.items()}, path)
    return path
