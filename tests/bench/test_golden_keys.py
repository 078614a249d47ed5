"""Cell keys and run names are frozen: every grid of every suite lists the ones in tests/goldens/keys.json.

The file has, for each suite, every cell's key with its training run, and for each set of flags the digest of each
grid's listing in order. Grids may have further cells, such as those of a new sampler. `python
tests/bench/test_golden_keys.py` writes the file anew, with these too; a key may go from it only if what is measured
changes: its record becomes unreachable.
"""

import contextlib
import csv
import io
import json
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

import pytest

from bench.run_grid import main
from bench.spec.grids.catalogue import NoCellsError

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "goldens" / "keys.json"
GRIDS = (
    "smoothing", "compute", "datasets", "unroll", "gradients", "allocation", "reuse", "convergence", "prepost",
    "samples", "solvers", "samplers", "beyond", "accounts", "memory", "throughput", "accelerator", "controls",
    "equal-timesteps", "learning-rates", "training-time", "panel", "all",
)  # fmt: skip
SMALL = ("--train-steps", "7", "--seeds", "3", "--samples", "100")
LATENT = ("imagenet", "celebahq", "ffhq", "church")
# A reference as bench/reference.py writes it; keys of the latent suites depend on it.
REFERENCE = {
    "images": 1000, "image_size": 256, "digest": "ab" * 32, "extractor": "inception-v3-compat",
    "extractor_digest": "0123456789abcdef",
}  # fmt: skip
FLAGS = {
    "digits": [(), ("--account", "macs"), ("--account", "seconds"), SMALL],
    "fashion": [(), ("--account", "macs"), SMALL],
    "fashion-cpu": [(), ("--account", "macs"), SMALL],
    **{suite: [(), ("--account", "macs"), ("--size", "S/2", "--batch-size", "64", *SMALL)] for suite in LATENT},
}


def listed(suite, flags, grid, results):
    """Training run by key of the cells that `--list` prints, in order; empty where a grid has none for the flags."""
    printed = io.StringIO()
    arguments = ["--suite", suite, "--grid", grid, "--list", "--results", str(results), *flags]
    other_grids = patch("bench.run_grid.memberships", return_value={})  # which take longer than the grid itself
    with contextlib.redirect_stdout(printed), contextlib.suppress(NoCellsError), other_grids:
        main(arguments)
    return {row["key"]: row["train_run"] for row in csv.DictReader(io.StringIO(printed.getvalue()))}


def enumerate_suite(suite, made, frozen=None):
    """What the golden file has for a suite. `made` is a folder for the references of latent suites.

    Only the `frozen` keys if they are given.
    """
    cells, grids = {}, {}
    results = ROOT / "results"
    if suite in LATENT:
        results = made
        (made / suite).mkdir(parents=True)
        (made / suite / "reference.json").write_text(json.dumps({"dataset": suite, **REFERENCE}))
    for flags in FLAGS[suite]:
        for grid in GRIDS:
            found = {k: run for k, run in listed(suite, flags, grid, results).items() if frozen is None or k in frozen}
            cells |= found
            lines = "".join(f"{key} {run}\n" for key, run in found.items())
            grids.setdefault(" ".join(flags), {})[grid] = f"{len(found)} {sha256(lines.encode()).hexdigest()[:16]}"
    return {"cells": cells, "grids": grids}


@pytest.mark.parametrize("suite", FLAGS)
def test_keys_and_run_names_are_those_of_the_golden_file(suite, tmp_path):
    golden = json.loads(GOLDEN.read_text())[suite]
    found = enumerate_suite(suite, tmp_path, golden["cells"])
    changed = golden["cells"].items() ^ found["cells"].items()
    assert not changed, f"{len(changed)} keys or runs differ, such as {sorted(changed)[:4]}"
    assert found["grids"] == golden["grids"]  # which cells a grid has, and their order


if __name__ == "__main__":
    import tempfile

    golden = {}
    for suite in FLAGS:
        with tempfile.TemporaryDirectory() as folder:
            golden[suite] = enumerate_suite(suite, Path(folder))
    GOLDEN.write_text(json.dumps(golden, indent=0) + "\n")
