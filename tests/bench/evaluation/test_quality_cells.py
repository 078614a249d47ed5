"""Quality of cells whose images come from a file, and the decoder of a latent suite's samples."""

from hashlib import sha256

import pytest
import torch
from made_images import make_vae, pictures

from bench.data.latents import FORMAT, MANIFEST, manifest_digest
from bench.evaluation.evaluator import Evaluator
from bench.quality.meter import QualityMeter
from bench.quality.reference_statistics import ReferenceStatistics
from bench.sampling.decoding import load_decoder
from bench.sampling.sampler import CellSampler
from bench.sampling.setting import Setting
from bench.spec.arguments import Places
from bench.spec.datasets import get_dataset
from bench.system.errors import BadInputError
from bench.system.files import write_json
from models.autoencoder import LatentAutoencoder, PixelAutoencoder
from models.diffusion.sampling import Sampled


class Pictures(CellSampler):
    """Stands in for a network: its samples are these images."""

    def __init__(self, setting, images):
        super().__init__(setting)
        self.images = PixelAutoencoder().encode(images)

    def network(self, cell):
        return None, "weights"

    def sample(self, cell, indices, solver, purpose="sample"):
        return Sampled(self.images[indices.start : indices.stop], torch.zeros(0, dtype=torch.int64), 0, [])


def evaluator_of(images, setting):
    evaluator = Evaluator(setting)
    evaluator._sampler = Pictures(setting, images)
    return evaluator


def test_a_cell_is_measured_against_statistics_from_a_file(latent_cell, toy, store, cpu, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.evaluation.quality_cells.make_extractor", lambda *arguments: toy)
    monkeypatch.setattr("bench.sampling.sampler.load_decoder", lambda *arguments: PixelAutoencoder())
    assert get_dataset(latent_cell.run.dataset).is_latent
    images = pictures(20, seed=1)
    evaluator = evaluator_of(images, Setting(store, cpu, places=Places(prepared=tmp_path)))
    record = evaluator.evaluate(latent_cell)
    assert (record.status, record.reason) == ("done", "")
    each = b"".join(sha256(image.tobytes()).digest() for image in images.numpy())
    assert record.samples_digest == f"each:{sha256(each).hexdigest()}"
    expected = QualityMeter(ReferenceStatistics.from_images(pictures(30), toy), toy).measure(images, 3, 10)
    assert record.metrics == expected
    assert record.timing["decoding_s"] > 0
    assert record.timing["features_s"] > 0


@pytest.mark.parametrize("size", [12, 48])
def test_samples_of_another_size_than_the_references_are_refused(
    latent_cell, toy, store, cpu, tmp_path, monkeypatch, size
):
    monkeypatch.setattr("bench.evaluation.quality_cells.make_extractor", lambda *arguments: toy)
    monkeypatch.setattr("bench.sampling.sampler.load_decoder", lambda *arguments: PixelAutoencoder())
    images = torch.zeros((20, 3, size, size), dtype=torch.uint8)
    evaluator = evaluator_of(images, Setting(store, cpu, places=Places(prepared=tmp_path)))
    with pytest.raises(BadInputError, match=f"samples are decoded to {size} pixels, the reference is of 24"):
        evaluator.evaluate(latent_cell)
    assert store.read(latent_cell) is None


def test_a_reference_is_missed_before_an_extractor_is_made(latent_cell, store, cpu, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.evaluation.quality_cells.make_extractor", lambda *arguments: pytest.fail("downloaded"))
    evaluator = evaluator_of(pictures(1), Setting(store, cpu, places=Places(prepared=tmp_path / "nowhere")))
    with pytest.raises(BadInputError, match="no reference statistics at"):
        evaluator.evaluate(latent_cell)


def test_samples_are_decoded_by_what_the_latents_were_encoded_with(latent_cell, tmp_path, cpu, monkeypatch):
    run, latents = latent_cell.run, torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    ours, other = make_vae(tmp_path / "ours"), make_vae(tmp_path / "other", seed=1)
    decoder = LatentAutoencoder.load(ours, cpu)
    vae = {"source": str(ours), "digest": decoder.digest}
    manifest = {"format": FORMAT, "vae": vae}
    write_json(tmp_path / "pictures" / "latents" / MANIFEST, manifest | {"digest": manifest_digest(manifest)})
    for places in (
        Places(prepared=tmp_path),
        Places(prepared=tmp_path, vae=str(ours)),
        Places(prepared=tmp_path / "none", vae=str(ours)),
    ):
        images = load_decoder(run, places, cpu).decode(latents)
        assert (images.shape, images.dtype) == ((3, 3, 16, 16), torch.uint8)
        torch.testing.assert_close(images, decoder.decode(latents), rtol=0, atol=0)
    with pytest.raises(BadInputError, match=f"--vae {other}: digest .* was trained on latents of {decoder.digest}"):
        load_decoder(run, Places(prepared=tmp_path, vae=str(other)), cpu)
    with pytest.raises(BadInputError, match=r"--vae .*/nothing: cannot be loaded"):
        load_decoder(run, Places(prepared=tmp_path, vae=f"{tmp_path}/nothing"), cpu)
