"""Random latents on disk in the format of `bench.data.latents`, for benchmarks and tests of reading."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.latents import FORMAT, MANIFEST, manifest_digest
from bench.system.files import write_json


def write_latents(folder: Path, moments: Sequence[np.ndarray], labels: np.ndarray, scaling_factor: float = 0.5) -> Path:
    """Write labels and shards of moments, each (images, 2, 2 * channels, height, width) float16; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [_save(folder / f"moments-{i:05d}.npy", shard) | {"images": len(shard)} for i, shard in enumerate(moments)]
    files.append(_save(folder / "labels.npy", labels.astype(np.int64)))
    vae = {"source": "made up", "digest": "made up", "scaling_factor": scaling_factor, "shift_factor": 0.0}
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "dataset": "made up",
        "count": len(labels),
        "images_digest": "made up",
        "moments_shape": list(moments[0].shape[2:]),
        "dtype": "float16",
        "vae": vae,
        "files": files,
    }
    write_json(folder / MANIFEST, manifest | {"digest": manifest_digest(manifest)})
    return folder


def _save(path: Path, array: np.ndarray) -> dict[str, Any]:
    np.save(path, array)
    content = path.read_bytes()
    return {"name": path.name, "bytes": len(content), "sha256": sha256(content).hexdigest()}
