"""Cells that a second extractor judges too: their records, keys and finished batches."""

from dataclasses import replace

import pytest
import torch
from made_images import pictures
from torch import nn

from bench.evaluation.evaluator import Evaluator
from bench.evaluation.kinds import StoppedError
from bench.quality.extractor import Extractor
from bench.quality.meter import Measurement, QualityMeter, SecondJudge
from bench.quality.reference_statistics import ReferenceStatistics, save_statistics, statistics_path
from bench.sampling.sampler import CellSampler
from bench.sampling.setting import Setting
from bench.spec.arguments import Places
from bench.spec.extractors import DINOV2
from bench.spec.reference import Reference
from bench.system.errors import BadInputError
from models.autoencoder import PixelAutoencoder
from models.diffusion.sampling import Sampled

NETWORK, WEIGHTS = "dinov2-vit-s-14", "fedcba9876543210"


class Corners(nn.Module):
    """Other features of small pictures than the toy's: the corner pixels, and products of them."""

    def forward(self, images):
        corners = images[:, :, ::23, ::23].flatten(1).float() / 255
        return (torch.cat([corners, corners * corners.roll(1, dims=1)], dim=1),)


@pytest.fixture
def corners(cpu):
    return Extractor(Corners(), NETWORK, WEIGHTS, 24, cpu)


@pytest.fixture
def judged_cell(latent_cell, corners, tmp_path):
    """`latent_cell`, judged by a second extractor too, whose statistics are beside its own."""
    reference = Reference("pictures", 30, 24, "f" * 64, NETWORK, WEIGHTS)
    path = statistics_path(tmp_path / "pictures", reference.identity)
    save_statistics(path, ReferenceStatistics.from_images(pictures(30), corners), reference, "")
    return replace(latent_cell, protocol=replace(latent_cell.protocol, second=reference.of_second(DINOV2)))


@pytest.fixture
def evaluator(store, toy, corners, cpu, tmp_path, monkeypatch):
    """Makes an evaluator whose samples are given images."""
    monkeypatch.setattr("bench.evaluation.quality_cells.make_extractor", lambda *arguments: toy)
    monkeypatch.setattr("bench.evaluation.quality_cells.make_second", lambda *arguments: corners)
    monkeypatch.setattr("bench.sampling.sampler.load_decoder", lambda *arguments: PixelAutoencoder())
    monkeypatch.setattr("bench.quality.features.FEATURE_BATCH", 6)  # batches are of 8: images wait for the next one
    monkeypatch.setattr(CellSampler, "network", lambda self, cell: (None, "weights"))

    def sample(self, cell, indices, solver, purpose="sample"):
        images = PixelAutoencoder().encode(pictures(20, seed=1))[indices.start : indices.stop]
        return Sampled(images, torch.zeros(0, dtype=torch.int64), 0, [])

    monkeypatch.setattr(CellSampler, "sample", sample)
    return lambda **options: Evaluator(Setting(store, cpu, places=Places(prepared=tmp_path), **options))


def test_a_record_has_both_distances_and_the_digests_of_both(judged_cell, latent_cell, toy, corners, evaluator):
    alone, record = (evaluator().evaluate(cell) for cell in (latent_cell, judged_cell))
    assert (record.status, record.reason) == ("done", "")
    assert record.key != alone.key
    distance = record.metrics.pop("fd_dinov2")
    assert record.metrics == alone.metrics
    real, images = pictures(30), pictures(20, seed=1)
    second = SecondJudge(DINOV2, ReferenceStatistics.from_images(real, corners), corners)
    meter = QualityMeter(ReferenceStatistics.from_images(real, toy), toy, second)
    assert distance == meter.measure(images, 3, 10)["fd_dinov2"]
    assert distance != record.metrics["fid"]
    protocol = judged_cell.protocol
    assert record.inputs == alone.inputs | {
        "second_reference": protocol.second.reference_digest,
        "second_extractor": WEIGHTS,
    }
    assert record.cell["protocol"] == alone.cell["protocol"] | {
        "second": {
            "name": "dinov2",
            "network": NETWORK,
            "extractor_digest": WEIGHTS,
            "reference_digest": protocol.second.reference_digest,
        }
    }


@pytest.mark.parametrize("done", [1, 2])
def test_an_interrupted_cell_goes_on_with_the_features_of_both(done, judged_cell, evaluator, store, monkeypatch):
    whole = evaluator().evaluate(judged_cell)
    answers = iter([*[False] * (done - 1), True])
    with pytest.raises(StoppedError):
        evaluator(stopping=lambda: next(answers)).evaluate(judged_cell)
    assert len(store.batches_done(judged_cell)) == done
    looked_at, add = [], Measurement.add
    monkeypatch.setattr(Measurement, "add", lambda self, images: looked_at.append(len(images)) or add(self, images))
    record = evaluator().evaluate(judged_cell)
    assert looked_at == [8, 8, 4][done:]
    assert (record.metrics, record.samples_digest) == (whole.metrics, whole.samples_digest)
    assert "fd_dinov2" in record.metrics


def test_other_weights_than_the_statistics_are_refused(judged_cell, corners, evaluator, store):
    corners.digest = "0" * 16
    with pytest.raises(
        BadInputError, match=f"the weights of {NETWORK}: features have digest 000000000000, the results"
    ):
        evaluator().evaluate(judged_cell)
    assert store.read(judged_cell) is None
