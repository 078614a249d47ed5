"""A copy of the code for the jobs of a submission, so that later edits do not change what they run."""

import json
import os
import shutil
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from bench.machine.provenance import SNAPSHOT, code_digest, commit
from bench.system.files import write_text

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("models", "bench", "slurm", "paper_figures")
KINDS = {".py", ".toml", ".safetensors", ".json", ".sh"}


def take_snapshot(folder: Path) -> Path:
    """Copy the code into `folder`/<its digest>, unless that exists; returns the path of the copy.

    Jobs set PYTHONPATH to the copy. It holds the commit of the checkout, which their records name, and the digest of
    its code: if that was edited since this process started, the copy is dirty.
    """
    files = sorted(
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix in KINDS and "__pycache__" not in path.parts
    )
    stamp = json.dumps(commit() | {"code_digest": code_digest()})
    hasher = sha256(stamp.encode())
    for path in files:
        hasher.update(f"{path.relative_to(ROOT)}\n".encode() + sha256(path.read_bytes()).digest())
    copy = folder / hasher.hexdigest()[:12]
    if copy.exists():
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    for left_behind in folder.glob(".*"):  # by a killed submission: this one holds the ledger's lock
        shutil.rmtree(left_behind, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix="."))
    try:
        with suppress(OSError):  # a mode is cosmetic
            temporary.chmod(0o755)
        for path in files:
            target = temporary / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        write_text(temporary / SNAPSHOT, stamp)
        os.replace(temporary, copy)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return copy
