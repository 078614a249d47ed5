"""A copy of the code for the tasks of a submission: they run what was there when they were submitted."""

import json
import os
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

from bench.system.environment import SNAPSHOT, commit

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("models", "bench", "slurm", "paper_figures")
KINDS = {".py", ".toml", ".safetensors", ".json", ".sh"}


def take_snapshot(folder: Path) -> Path:
    """Copy the code into a folder of `folder` named by its digest, unless it is there; the copy's path.

    Its tasks set PYTHONPATH to it. Records made with it name the commit that it was taken of.
    """
    files = sorted(
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix in KINDS and "__pycache__" not in path.parts
    )
    stamp = json.dumps(commit())
    hasher = sha256(stamp.encode())
    for path in files:
        hasher.update(f"{path.relative_to(ROOT)}\n".encode() + sha256(path.read_bytes()).digest())
    copy = folder / hasher.hexdigest()[:12]
    if copy.exists():
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder))
    try:
        temporary.chmod(0o755)
        for path in files:
            target = temporary / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (temporary / SNAPSHOT.name).write_text(stamp)
        os.replace(temporary, copy)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return copy
