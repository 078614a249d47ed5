import json
import os
import signal
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity.metric_prc import prc_features_to_metric

from bench.data import fashion
from bench.data.pixels import load_dataset
from bench.evaluation import workers
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.workers import evaluate_all
from bench.prepare import train_extractor
from bench.quality.extractor import load_classifier, make_extractor, registered_name
from bench.quality.extractor_weights import weights_path
from bench.quality.features import FEATURE_BATCH
from bench.quality.meter import QualityMeter
from bench.quality.precision_recall import PrecisionRecall
from bench.quality.reference_statistics import ReferenceStatistics
from bench.sampling.generate import Generator
from bench.spec.grids import get_cells
from bench.spec.selection import Selection
from bench.store.records import missing
from bench.system.environment import usable_cores
from bench.system.errors import BadInputError
from bench.training.turns import train_together
from models.networks.blocks import DiTBlock


@pytest.fixture(scope="module")
def evaluated_store(tmp_path_factory):
    from bench.store.records import Store

    return Store(tmp_path_factory.mktemp("results"), "digits")


@pytest.fixture(scope="module")
def cells(tiny_suite, evaluated_store):
    grid = get_cells("smoothing", tiny_suite, Selection(budgets=(28,), train_steps=30, samples=66, seeds=(0,)))
    train_together(list(dict.fromkeys(c.run for c in grid)), evaluated_store, torch.device("cpu"))
    chosen = {("dit", 2): 0, ("fpdm", 1): 0, ("fpdm", 5): 0}
    return [c for c in grid if (c.run.model, c.iterations) in chosen and c.measure == "quality"]


def batches(generator, cell):
    return generator.batches(cell, generator.solver(cell))


def with_batch(cell, batch_size):
    return replace(cell, protocol=replace(cell.protocol, batch_size=batch_size))


def test_a_sample_is_the_same_in_batches_of_1_7_and_64(cells, evaluated_store, cpu):
    """To 1e-4 in pixel units of -1..1: products of other shapes round differently."""
    generator = Generator(evaluated_store, cpu)
    for cell in cells:
        whole = torch.cat(list(batches(generator, with_batch(cell, 64))))
        assert whole.shape == (66, 1, 8, 8)
        assert whole.std(dim=0).min() > 0.01  # samples differ from each other
        for size in (1, 7):
            split = torch.cat(list(batches(generator, with_batch(cell, size))))
            torch.testing.assert_close(split, whole, rtol=0, atol=1e-4)


def test_a_sample_is_the_same_with_one_thread_and_two(cells, evaluated_store, cpu):
    """What one worker and two workers on two cores differ in; to 1e-4 as above."""
    generator, before = Generator(evaluated_store, cpu), torch.get_num_threads()
    try:
        for cell in cells:
            drawn = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                drawn.append(torch.cat(list(batches(generator, cell))))
            torch.testing.assert_close(*drawn, rtol=0, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_a_sample_depends_on_its_seed(cells, evaluated_store, cpu):
    generator = Generator(evaluated_store, cpu)
    first, second = (next(batches(generator, replace(cells[0], seed=seed))) for seed in (0, 1))
    assert not torch.allclose(first, second, atol=0.1)


def test_one_and_two_workers_give_the_same_records(cells, evaluated_store, cpu):
    """Digests of 8-bit samples and metrics are equal where the thread count is; with others, to rounding."""
    results = []
    for count in (1, 2):
        records = {r.key: r for r in evaluate_all(cells, evaluated_store, cpu, count)}
        assert {r.status for r in records.values()} == {"done"}
        results.append(records)
    for key, alone in results[0].items():
        pair = results[1][key]
        assert (pair.timing["workers"], alone.timing["workers"]) == (2, 1)
        assert pair.metrics["fid"] == pytest.approx(alone.metrics["fid"], rel=1e-3)
        assert pair.metrics["kid"] == pytest.approx(alone.metrics["kid"], rel=1e-2, abs=1e-4)
    assert missing(evaluated_store, cells) == []


def test_one_cell_made_again_is_timed_like_the_others(cells, evaluated_store, cpu):
    """As many threads as it would have beside other workers: else its times would not be compared with theirs."""
    (record,) = evaluate_all(cells[:1], evaluated_store, cpu, workers=2)
    assert (record.timing["workers"], record.timing["threads"]) == (2, max(1, usable_cores() // 2))


def test_a_record_tells_what_it_is_made_from(cells, evaluated_store, cpu):
    cell = next(c for c in cells if c.run.model == "fpdm" and c.iterations == 5)
    record = Evaluator(evaluated_store, cpu).evaluate(cell)
    assert record == evaluated_store.read(cell)
    assert record.inputs["checkpoint"] == evaluated_store.read_training(cell.run)["digest"]
    assert record.inputs["reference"] == load_dataset("digits").digest
    expected = {
        "block_passes": 28,
        "injections": 20,
        "macs": cell.macs,
        "executed_block_passes": 28,
        "comparable": True,
    }
    assert record.cost == expected
    assert record.timing["images_per_s"] == pytest.approx(66 / record.timing["sampling_s"])
    assert record.environment["threads"] == torch.get_num_threads()


def test_reported_cost_equals_counted_calls(cells, evaluated_store, cpu):
    """Block passes and injections counted by hooks while one image is sampled."""
    generator = Generator(evaluated_store, cpu)
    for cell in cells:
        cell = replace(cell, protocol=replace(cell.protocol, samples=1, batch_size=1))
        model, _ = generator.denoiser(cell)
        count: Counter[str] = Counter()
        handles = []
        for name, module in model.named_modules():
            for what, matches in (("blocks", isinstance(module, DiTBlock)), ("injections", name.endswith("proj_fc2"))):
                if matches:
                    hook = partial(lambda count, what, *_: count.update([what]), count, what)
                    handles.append(module.register_forward_hook(hook))
        list(batches(generator, cell))
        for handle in handles:
            handle.remove()
        assert count["blocks"] == cell.block_passes
        assert count["injections"] == cell.injections


def test_samples_that_are_not_finite_end_as_diverged(cells, evaluated_store, cpu):
    evaluator = Evaluator(evaluated_store, cpu)
    cell = replace(cells[0], seed=99)
    model, _ = evaluator._drawer.generator.denoiser(cell)
    with torch.no_grad():
        model.final_layer.linear.bias.fill_(float("nan"))
    record = evaluator.evaluate(cell)
    assert (record.status, record.reason) == ("diverged", "samples are not finite")
    assert record.metrics == {}
    assert missing(evaluated_store, [cell]) == [cell]


def test_records_of_earlier_weights_do_not_count(cells, evaluated_store, cpu):
    from bench.system.files import write_json

    cell = cells[0]
    Evaluator(evaluated_store, cpu).evaluate(cell)
    path = evaluated_store.training_path(cell.run)
    summary = evaluated_store.read_training(cell.run)
    write_json(path, {**summary, "digest": "0" * 64})
    assert missing(evaluated_store, [cell]) == [cell]
    write_json(path, summary)
    assert missing(evaluated_store, [cell]) == []


def evaluate_or_die(cell, wait):
    """What a worker does with a cell, but the kernel's OOM killer strikes at seed 77."""
    if cell.seed == 77:
        os.kill(os.getpid(), signal.SIGKILL)
    return workers._evaluate(cell, wait)


def test_a_cell_whose_process_is_killed_gets_a_record_and_the_others_are_evaluated(
    cells, evaluated_store, cpu, monkeypatch
):
    victim, bystander = replace(cells[0], seed=77), replace(cells[1], seed=78)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_evaluate", evaluate_or_die)  # spawned workers import this module for it
        records = {r.key: r for r in evaluate_all([victim, bystander], evaluated_store, cpu, 2)}
    assert records[victim.key].status == "oom"
    assert "killed" in records[victim.key].reason
    assert records[bystander.key].status == "done"
    assert missing(evaluated_store, [victim, bystander]) == [victim]


def digits_meter(reference, device):
    extractor = make_extractor("digits-cnn", device)
    return QualityMeter(ReferenceStatistics.from_images(reference, extractor), extractor)


class Images(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quality_equals_torch_fidelity_called_as_a_whole(cpu):
    images = load_dataset("digits").images
    generated, reference = images[:600], images[600:]
    quality = digits_meter(reference, cpu).measure(generated, 5, 200)
    whole = calculate_metrics(
        input1=Images(generated),
        input2=Images(reference),
        feature_extractor=registered_name("digits-cnn"),
        fid=True,
        kid=True,
        kid_subsets=5,
        kid_subset_size=200,
        batch_size=FEATURE_BATCH,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    assert quality.fid == pytest.approx(whole["frechet_inception_distance"], rel=1e-4)
    assert quality.kid == pytest.approx(whole["kernel_inception_distance_mean"], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("corruption", ["noise", "blur", "contrast", "missing classes"])
def test_distance_grows_with_the_damage(corruption, cpu):
    data = load_dataset("digits")
    meter = digits_meter(data.images[1::2], cpu)
    images, labels = data.images[::2].float(), data.labels[::2]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    levels = {
        "noise": [images + sigma * noise for sigma in (0, 16, 32, 64, 128)],
        "blur": [images.lerp(blurred, weight) for weight in (0, 0.1, 0.2, 0.4, 0.8)],
        "contrast": [images * factor for factor in (1, 0.9, 0.8, 0.6)],
        "missing classes": [images[keep] for keep in (labels < 10, labels < 9, labels < 7, labels < 4)],
    }[corruption]
    distances = [meter.measure(level.round().clamp(0, 255).to(torch.uint8), 5, 200).fid for level in levels]
    assert distances == sorted(distances)
    assert distances[0] < 0.1 * distances[-1]


def test_precision_and_recall_are_torch_fidelitys(cpu):
    """Of equally many images on both sides, and with real ones that are twice as many (every other one counts)."""
    features = make_extractor("digits-cnn", cpu)(load_dataset("digits").images)
    generated, real = features[:500] + 0.1 * torch.randn(500, 64, generator=torch.Generator().manual_seed(0)), features
    options = {"prc_neighborhood": 3, "prc_batch_size": 200, "save_cpu_ram": False, "verbose": False}
    for many, few in ((real[500:1000], real[500:1000]), (real[500:1500], real[500:1500:2])):
        whole = prc_features_to_metric(generated, few, **options)
        assert all(0.1 < whole[name] < 0.95 for name in ("precision", "recall"))
        found = PrecisionRecall(many).measure(generated)
        assert found == pytest.approx((whole["precision"], whole["recall"]), abs=1e-6)
    assert PrecisionRecall(real).measure(real) == (1, 1)


def test_of_more_samples_than_are_compared_no_class_is_left_out(cpu, monkeypatch):
    """Labels of samples go round: every n-th would be of some classes only."""
    data, extractor = load_dataset("digits"), make_extractor("digits-cnn", cpu)
    monkeypatch.setattr("bench.quality.precision_recall.KEPT_FEATURES", 160)
    real, generated = extractor(data.images), extractor(data.balanced(1600))
    assert PrecisionRecall(real).measure(generated[::10])[1] < 0.25  # zeros alone
    assert PrecisionRecall(real).measure(generated)[1] > 0.6


def test_missing_classes_cost_recall_and_noise_costs_precision(cpu):
    data = load_dataset("digits")
    meter = digits_meter(data.images[1::2], cpu)
    images, labels = data.images[::2], data.labels[::2]
    noise = 64 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    whole, part, noisy = (
        meter.measure(some, 5, 200)
        for some in (images, images[labels < 5], (images + noise).round().clamp(0, 255).to(torch.uint8))
    )
    assert part.recall < 0.7 * whole.recall
    assert part.precision > 0.9 * whole.precision
    assert noisy.precision < 0.7 * whole.precision


@pytest.mark.parametrize(("name", "accuracy"), [("digits-cnn", 0.97), ("fashion-cnn", 0.92)])
def test_shipped_extractors_recognise_images_that_they_were_not_trained_on(name, accuracy):
    recipe = train_extractor.RECIPES[name]
    if recipe.dataset == "fashion" and not any(folder.is_dir() for folder in fashion.USUAL):
        pytest.skip("there is no Fashion-MNIST")
    _, held_out = train_extractor.splits(recipe.dataset)
    model = load_classifier(weights_path(name))
    found = train_extractor.accuracy(model, held_out)
    assert found > accuracy
    report = json.loads(weights_path(name).with_suffix(".json").read_text())
    assert (report["held_out"], report["accuracy"]) == (len(held_out.labels), pytest.approx(found, abs=2e-3))


def test_features_of_the_reference_have_unit_mean_square(cpu):
    """The kernel distance depends on their scale."""
    features = make_extractor("digits-cnn", cpu)(load_dataset("digits").images)
    assert features.square().mean().sqrt() == pytest.approx(1, abs=0.02)


def test_an_extractor_is_trained_by_its_script(tmp_path, monkeypatch, capsys):
    recipe = replace(train_extractor.RECIPES["digits-cnn"], epochs=3)
    monkeypatch.setitem(train_extractor.RECIPES, "digits-cnn", recipe)
    monkeypatch.setattr(train_extractor, "weights_path", lambda name: tmp_path / f"{name}.safetensors")
    assert train_extractor.main(["digits-cnn"]) == 0
    assert load_classifier(tmp_path / "digits-cnn.safetensors").hidden.out_features == 64
    report = json.loads((tmp_path / "digits-cnn.json").read_text())
    assert report["epochs"] == 3
    assert 0.5 < report["accuracy"] < 1
    assert f"{report['accuracy']:.2%} on 359 images" in capsys.readouterr().out
    with pytest.raises(BadInputError, match="unknown extractor 'cnn': choose one of digits-cnn, fashion-cnn"):
        train_extractor.main(["cnn"])
