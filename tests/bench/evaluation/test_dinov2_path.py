"""The path of a 256-pixel suite from small pictures to a table with both distances: all weights are random.

Slurm's tests take the same path as jobs (tests/slurm/test_whole_path.py).
"""

import csv
import json
import re

import pytest
from made_images import make_dinov2, make_imagenet, make_inception, make_vae

from bench import encode_latents, reference, run_grid
from bench.spec.reference import Reference

SUITE = ("--suite", "imagenet", "--classes", "3", "--device", "cpu")
SMALL = ("--size", "xs/4", "--batch-size", "8", "--train-steps", "4", "--samples", "4", "--budget", "14")


@pytest.mark.slow
def test_small_pictures_become_a_table_of_both_distances(tmp_path, capfd):
    data, results = tmp_path / "data", tmp_path / "results"
    make_imagenet(data, (4, 4, 4))
    weights = ("--inception-weights", make_inception(tmp_path / "inception.pth"))
    dinov2 = ("--dinov2-weights", make_dinov2(tmp_path / "dinov2.pth"))

    def call(command, *arguments):
        capfd.readouterr()
        assert command.main([*SUITE, "--prepared", str(tmp_path / "prepared"), *map(str, arguments)]) == 0
        return capfd.readouterr().out

    images = ("--data", data, "--any-count", "--workers", "0")
    call(encode_latents, *images, "--vae", make_vae(tmp_path / "vae"))
    made = call(reference, *images, "--results", results, *weights, *dinov2)
    assert "12 images in features of dinov2-vit-s-14" in made
    grid = ("--grid", "datasets", *SMALL, "--results", results, *weights)
    plan = call(run_grid, *grid, *dinov2, "--plan")
    assert "FD (DINOv2) is measured beside FD, in features of dinov2-vit-s-14" in plan
    keys = [re.search(rf"^evaluate  quality of {model} .*\[(\w+)\]$", plan, re.M)[1] for model in ("dit", "fpdm")]
    drawn = call(run_grid, *grid, *dinov2, "--workers", "1", "--only", *keys)

    folder = results / "imagenet"
    identities = [Reference(**json.loads((folder / f"reference{end}.json").read_text())) for end in ("", "-dinov2")]
    assert identities[0].digest == identities[1].digest
    records = [json.loads(path.read_text()) for path in (folder / "records").glob("*.json")]
    assert {record["key"]: record["cell"]["model"] for record in records} == dict(
        zip(keys, ("dit", "fpdm"), strict=True)
    )
    for record in records:
        assert record["status"] == "done", record["reason"]
        assert record["inputs"]["second_reference"] == identities[1].identity
        assert record["inputs"]["second_extractor"] == identities[1].extractor_digest
        metrics = record["metrics"]
        assert 0 < metrics["fd_dinov2"] < float("inf")
        assert metrics["fd_dinov2"] != metrics["fid"]
    assert len({record["metrics"]["fd_dinov2"] for record in records}) == len(records)
    assert "FD (DINOv2)" in drawn
    (path,) = folder.glob("**/table2.csv")
    rows = csv.DictReader(path.read_text().splitlines())
    shown = {row["model"]: float(row["fd_dinov2"]) for row in rows if row["suite"] == "imagenet"}
    measured = {record["cell"]["model"]: record["metrics"]["fd_dinov2"] for record in records}
    assert shown == pytest.approx(measured, rel=1e-5)
    again = call(run_grid, *grid, "--models", "dit")
    assert "all 1 cells of datasets have records: nothing to evaluate" in again
    assert "FD (DINOv2)" in again
