"""The whole path of a 256-pixel suite from images to a table, as jobs of a real Slurm."""

import json

import pandas as pd
import pytest
from made_images import make_dinov2
from on_cluster import make_imagenet, make_inception, make_vae, python

from bench.spec.reference import Reference

pytestmark = pytest.mark.slurm


def test_images_become_a_table_of_fid(cluster, tmp_path, monkeypatch):
    data, vae = make_imagenet(tmp_path / "data"), make_vae(tmp_path / "vae")
    weights = ("--inception-weights", make_inception(tmp_path / "inception.pth", monkeypatch))
    weights += ("--dinov2-weights", make_dinov2(tmp_path / "dinov2.pth"))
    where = ("--prepared", tmp_path / "prepared")
    suite = ("--suite", "imagenet", "--classes", "4", "--device", "cpu", *where)
    made = (*suite, "--data", data, "--any-count", "--workers", "0")
    python("bench/encode_latents.py", *made, "--vae", vae)
    results = ("--results", tmp_path / "results")
    python("bench/reference.py", *made, *results, *weights)
    small = ("--size", "xs/4", "--batch-size", "8", "--train-steps", "20", "--samples", "4", "--budget", "16")
    grid = (*suite, "--grid", "datasets", *small, *results)
    on_slurm = ("--executor", "slurm", "--profile", "local", "--wait", *weights)
    printed = python("bench/run_grid.py", *grid, *on_slurm, GLOO_SOCKET_IFNAME="lo").stdout

    folder = tmp_path / "results" / "imagenet"
    records = [json.loads(path.read_text()) for path in (folder / "records").glob("*.json")]
    assert len(records) == 7  # DiT, and FPDM with 1, 2, 3, 5, 8, 12 iterations
    reference = json.loads((folder / "reference.json").read_text())
    second = Reference(**json.loads((folder / "reference-dinov2.json").read_text()))
    assert (second.digest, second.extractor) == (reference["digest"], "dinov2-vit-s-14")
    for record in records:
        assert record["status"] == "done", record["reason"]
        assert record["inputs"]["reference"] == Reference(**reference).identity
        assert record["inputs"]["extractor"] == reference["extractor_digest"]
        assert record["inputs"]["second_reference"] == second.identity
        assert record["inputs"]["second_extractor"] == second.extractor_digest
        assert 0 < record["metrics"]["fid"] < float("inf")
        assert 0 < record["metrics"]["fd_dinov2"] < float("inf")
        assert record["timing"]["decoding_s"] > 0
        assert record["cell"]["protocol"]["extractor"] == "inception-v3-compat"
    assert len({record["samples_digest"] for record in records}) == len(records)
    trainings = [json.loads(path.read_text()) for path in (folder / "training").glob("*.json")]
    assert sorted(t["run"]["model"] for t in trainings) == ["dit", "fpdm"]
    manifest = json.loads((tmp_path / "prepared" / "imagenet" / "latents" / "manifest.json").read_text())
    for training in trainings:
        assert (training["ranks"], training["data"], training["vae"]) == (
            2,
            manifest["digest"],
            manifest["vae"]["digest"],
        )

    (table,) = folder.glob("parts/*/tables/table2.csv")
    table = pd.read_csv(table)
    (best,) = [record["metrics"] for record in records if record["cell"]["model"] == "dit"]
    row = table[(table.suite == "imagenet") & (table.model == "dit")]
    assert row.fd.item() == pytest.approx(best["fid"], rel=1e-5)
    assert row.fd_dinov2.item() == pytest.approx(best["fd_dinov2"], rel=1e-5)
    assert "ImageNet" in printed
    again = python("bench/run_grid.py", *grid, *on_slurm, GLOO_SOCKET_IFNAME="lo").stdout
    assert "all 7 cells of datasets have records" in again
