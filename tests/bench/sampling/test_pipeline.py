"""Sampling as a user does it: the pipeline, and bench/sample.py."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from random_networks import SMALL, random_network

from bench.run_grid import main as run_grid
from bench.sample import main
from bench.sampling.pipeline import SamplingPipeline
from bench.sampling.sampler import CellSampler
from bench.sampling.setting import Setting
from bench.sampling.solvers import solver_of
from bench.spec.arguments import Training, What, suite_of
from bench.spec.grids.catalogue import get_cells
from bench.spec.selection import Selection
from bench.store.records import Store
from bench.system.command_line import run
from bench.system.errors import BadInputError
from bench.training.turns import train_together
from models.families import build
from models.pretrained import Description
from models.zoo import create_model, model_config
from paper_figures.evidence.gather import Evidence


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_suite):
    """Both twins of the tiny suite, trained for a few steps, and their cells."""
    store = Store(tmp_path_factory.mktemp("results"), "digits")
    cells = [cell for cell in get_cells("smoothing", tiny_suite, Selection(train_steps=4, samples=6)) if cell.run]
    runs = list(dict.fromkeys(cell.run for cell in cells))
    train_together(runs, store, torch.device("cpu"))
    return store, cells


def folder_of(store, cell):
    return store.checkpoint_folder(cell.run)


@pytest.mark.parametrize("name", ["ddpm", "heun"])
@pytest.mark.parametrize("model", ["dit", "fpdm"])
def test_a_finished_run_samples_what_its_cells_sample(model, name, trained, cpu):
    store, cells = trained
    own = [c for c in cells if c.model == model and c.measure == "quality" and c.sampler == "ddpm"]
    cell = replace(min(own, key=lambda c: c.steps), sampler=name)
    sampler = CellSampler(Setting(store, cpu))
    (batch,) = sampler.batches(
        replace(cell, protocol=replace(cell.protocol, batch_size=6)), solver_of(cell, sampler), None
    )
    pipe = SamplingPipeline.from_pretrained(folder_of(store, cell), "cpu")
    iterations = cell.iterations if model == "fpdm" else None
    output = pipe(range(6), cell.steps, iterations, name, generator=cell.seed)
    assert torch.equal(output.pixels, batch.images)
    assert np.array_equal(np.asarray(output.images[2]), batch.images[2, 0].numpy())
    assert output.labels == list(range(6))
    cost = output.cost
    assert (cost.block_passes, cost.injections, cost.macs) == (cell.block_passes, cell.injections, cell.macs)
    assert cost.seconds > 0


def test_from_pretrained_of_the_network_and_the_summary_agree(trained):
    store, cells = trained
    run = cells[-1].run
    network = create_model(str(store.checkpoint_folder(run)))
    assert sum(p.numel() for p in network.parameters()) > 0
    kept = json.loads((store.checkpoint_folder(run) / "config.json").read_text())
    summary = store.read_training(run)
    assert kept["training"] == {
        "suite": "digits", "contender": run.model, "seed": 0, "name": run.name, "status": "done", "steps": 4,
        "seconds": summary["elapsed_s"], "sha256": summary["digest"],
    }  # fmt: skip
    assert kept["autoencoder"] == "pixels"


def test_generators_as_in_diffusers(trained):
    store, cells = trained
    pipe = SamplingPipeline.from_pretrained(folder_of(store, cells[0]), "cpu")

    def sampled(generator):
        return pipe([1, 2], 3, generator=generator).pixels

    one = torch.Generator().manual_seed(5)
    first, second = sampled(one), sampled(one)
    assert torch.equal(first, sampled(torch.Generator().manual_seed(5)))
    assert not torch.equal(first, second)
    assert torch.equal(sampled(7), sampled(7))
    assert not torch.equal(sampled(None), sampled(None))


def test_released_weights_with_noise_prediction_sample(tmp_path):
    """The official DiT's state dict, under its own names; guidance on 3 channels of 4."""
    network = random_network("dit", in_channels=4)
    theirs = network.state_dict()
    theirs["x_embedder.proj.weight"] = theirs["x_embedder.proj.weight"].clone()
    config = model_config("dit_s_2", **SMALL | {"in_channels": 4})
    pipe = SamplingPipeline.from_released(theirs, config, device="cpu")
    pipe._decoder = type("Latents", (), {"decode": lambda self, x: x})()  # random weights: no pictures
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.sampling.pipeline.to_pil", lambda images: list(images))
        guided, plain = (pipe([3, 4], 10, None, "ddim", scale, 3, generator=0).pixels for scale in (4.0, 1.0))
    assert guided.shape == (2, 4, 8, 8)
    assert guided.isfinite().all()
    assert not torch.allclose(guided, plain)
    with pytest.raises(BadInputError, match="state dict does not fit DiT: missing"):
        SamplingPipeline.from_released({}, config)


def test_what_a_network_does_not_take_is_refused(trained):
    store, cells = trained
    dit = SamplingPipeline.from_pretrained(folder_of(store, next(c for c in cells if c.model == "dit")), "cpu")
    for arguments, message in (
        (([],), "no labels: give one for each image"),
        (([10],), "label 10: this network has the labels 0 to 9"),
        (([1], 0), "0 steps: must be 1 to 1000"),
        (([1], 5, 4), "4 iterations: DiT does not iterate; leave them out"),
        (([1], 5, None, "euler-ish"), "'euler-ish': choose one of ddpm, "),
    ):
        with pytest.raises(BadInputError, match=message):
            dit(*arguments)
    fpdm = SamplingPipeline.from_pretrained(folder_of(store, next(c for c in cells if c.model == "fpdm")), "cpu")
    with pytest.raises(BadInputError, match="0 iterations: must be 1 or more"):
        fpdm([1], 5, 0)
    assert fpdm([1], 5).cost.block_passes == 5 * (2 + 5)  # the configuration's number


def test_a_cached_dit_takes_its_period():
    network, config = random_network("dit_cached"), model_config("dit_cached_s_2", **SMALL)
    pipe = SamplingPipeline(network, Description(config), "cpu")
    assert pipe([0, 1], 4, 2).cost.block_passes == 2 * 4 + 2 * 2  # every second step is full


def test_no_network_in_a_folder(tmp_path):
    with pytest.raises(BadInputError, match=r"no network to sample from \(.* has no config\.json\)"):
        SamplingPipeline.from_pretrained(tmp_path)


# The command


def test_the_command_writes_labelled_images(trained, tmp_path, capsys):
    store, cells = trained
    cell = next(c for c in cells if c.model == "fpdm")
    out = tmp_path / "new" / "grid.png"
    words = ["--from", str(folder_of(store, cell)), "--iterations", "2", "--steps", "3", "--sampler", "ddim"]
    assert main([*words, "--labels", *"0123456789", "--out", str(out), "--device", "cpu"]) == 0
    picture = np.asarray(Image.open(out))
    assert picture.shape == (2 * (64 + 18 + 8) + 8, 8 * (64 + 8) + 8)
    shown = picture[8 : 8 + 64, 8 : 8 + 64]
    expected = SamplingPipeline.from_pretrained(folder_of(store, cell), "cpu")([0], 3, 2, "ddim", generator=0).pixels
    assert np.array_equal(shown[::8, ::8], expected[0, 0].numpy())
    below = picture[8 + 64 : 8 + 64 + 18, 8 : 8 + 64]
    assert below.min() < 100  # a label
    assert capsys.readouterr().out.startswith(f"{out}: 10 images, each {3 * 4} block passes and ")


def test_the_command_finds_a_contender_s_weights(trained, tmp_path, monkeypatch, tiny_suite):
    store, _ = trained
    monkeypatch.setattr("bench.sample.suite_of", lambda *_: tiny_suite)
    words = ["--results", str(store.root.parent), "--device", "cpu", "--steps", "2", "--out", str(tmp_path / "a.png")]
    assert run(main, ["--model", "dit", "--train-steps", "4", *words]) == 0
    assert (tmp_path / "a.png").exists()


def test_the_only_run_of_a_contender_will_do(trained, tmp_path, monkeypatch, tiny_suite, capsys):
    """`--results results/demo --model fpdm` is enough, whatever the demo's seconds."""
    store, _ = trained
    monkeypatch.setattr("bench.sample.suite_of", lambda *_: tiny_suite)
    words = ["--results", str(store.root.parent), "--device", "cpu", "--steps", "2", "--out", str(tmp_path / "a.png")]
    assert run(main, words) == 0
    error = capsys.readouterr().err
    assert error.startswith("fpdm-100s-seed0-")
    assert "sampling with fpdm-4steps-seed0-" in error


def test_the_command_says_where_weights_are(trained, tmp_path, monkeypatch, tiny_suite, capsys):
    store, _ = trained
    monkeypatch.setattr("bench.sample.suite_of", lambda *_: tiny_suite)
    assert run(main, ["--train-steps", "9", "--seed", "3", "--results", str(store.root.parent)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no weights of fpdm-9steps-seed3-")
    assert "there are dit-4steps-seed0-" in error
    assert "bench/train.py --suite digits --models fpdm" in error
    assert run(main, ["--results", str(tmp_path)]) == 2
    assert "(there are none): train it" in capsys.readouterr().err


@pytest.fixture
def released(tmp_path, tiny_suite, monkeypatch):
    """A file with a state dict of the tiny suite's DiT, as a checkpoint of the released code holds it."""
    monkeypatch.setattr("bench.spec.arguments.get_suite", lambda *_: tiny_suite)
    torch.manual_seed(0)
    network = build(tiny_suite.baseline.config)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    file = tmp_path / "released.pt"
    torch.save({"ema": network.state_dict(), "opt": {}}, file)
    return file


def test_the_command_samples_from_weights_that_were_trained_elsewhere(released, tmp_path, capsys):
    words = ["--weights", str(released), "--steps", "2", "--device", "cpu"]
    assert run(main, [*words, "--out", str(tmp_path / "a.png")]) == 0
    assert run(main, [*words, "--objective", "velocity", "--out", str(tmp_path / "b.png")]) == 0
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    assert run(main, [*words, "--weights-of", "fpdm", "--out", str(tmp_path / "c.png")]) == 2
    assert "state dict does not fit FPDM" in capsys.readouterr().err
    released.write_bytes(b"PK")
    assert run(main, [*words, "--out", str(tmp_path / "c.png")]) == 2
    assert capsys.readouterr().err == f"error: {released}: not a state dict of tensors\n"
    assert not (tmp_path / "c.png").exists()


def test_weights_that_were_trained_elsewhere_are_a_contender_of_a_grid(released, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bench.run_grid._draw", lambda arguments: 0)  # in a process that knows the whole suite only
    results = tmp_path / "results"
    words = ["smoothing", "--models", "elsewhere", "--budget", "8", "--samples", "20", "--device", "cpu"]
    words += ["--seeds", "0,1", "--results", str(results), "--weights", str(released), "--workers", "1"]
    assert run(run_grid, words) == 0
    records = [json.loads(path.read_text()) for path in results.glob("digits/records/*.json")]
    sampled = [one for one in records if one["cell"]["measure"] == "quality"]
    assert {(one["status"], one["cell"]["model"], one["cell"]["train_seed"]) for one in sampled} == {
        ("done", "elsewhere", 0)
    }
    assert {one["cell"]["seed"] for one in sampled} == {0, 1}
    identity = sampled[0]["cell"]["run"]["elsewhere"]
    assert (identity["objective"], identity["zero_terminal_snr"]) == ("epsilon", False)
    assert "recipe" not in sampled[0]["cell"]["run"]
    capsys.readouterr()
    assert run(run_grid, words) == 0
    assert "nothing to evaluate" in capsys.readouterr().out
    assert run(run_grid, [*words, "--objective", "velocity", "--plan"]) == 0  # other samples, other cells
    planned = capsys.readouterr().out
    assert "0 runs to train" in planned
    assert "; 0 of " not in planned


def test_captions_say_what_was_trained_elsewhere(released, tmp_path, tiny_suite):
    suite = suite_of(What(models=("elsewhere",)), Training(weights=released))
    cells = get_cells("smoothing", suite, Selection(models=("elsewhere", "dit"), seeds=(0,)))
    evidence = Evidence("digits", "smoothing", cells, Store(tmp_path, "digits"), "", sized=suite)
    assert "100 s of training each (DiT, elsewhere: trained elsewhere, for another time)" in evidence.caption
