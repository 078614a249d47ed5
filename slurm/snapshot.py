"""A copy of the code for the jobs of a submission, so that later edits do not change what they run."""

import json
import os
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

from bench.system.provenance import SNAPSHOT, commit

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("models", "bench", "slurm", "paper_figures")
KINDS = {".py", ".toml", ".safetensors", ".json", ".sh"}


def take_snapshot(folder: Path) -> Path:
    """Copy the code into `folder`/<its digest>, unless that exists; returns the path of the copy.

    Jobs set PYTHONPATH to the copy. It holds the commit of the checkout, which their records name.
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
