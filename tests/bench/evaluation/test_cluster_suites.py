"""The 256-pixel suites without a cluster: what they are, what they take, what they lack."""

import csv
from dataclasses import replace

import pytest

from bench.data.latents import Latents
from bench.data.sources import check_latents
from bench.evaluation.cluster_estimate import assumed_gpu_macs_per_s
from bench.run_grid import main
from bench.spec.grids.catalogue import get_cells
from bench.spec.reference import Reference
from bench.spec.selection import Selection, training_run
from bench.spec.suites import SUITES, get_suite
from bench.store.prices import resolved
from bench.store.records import Store
from bench.store.references import read_reference, write_reference
from bench.system.command_line import run
from bench.system.errors import BadInputError
from bench.system.files import write_json
from bench.training.runs import check_comparable
from models.families import forward_macs, parameters

LATENT = ("imagenet", "celebahq", "ffhq", "church")


def test_they_are_the_paper_s():
    for name in LATENT:
        suite = get_suite(name)
        assert [one.name for one in suite.chosen(None)] == ["dit", "fpdm"]
        for contender in suite.contenders:
            config, recipe = contender.config, contender.recipe
            assert config.tokens == 256
            assert (config.in_channels, config.input_size) == (4, 32)
            assert recipe.batch_size == 512
            assert recipe.learning_rate == 1e-4
            assert (recipe.n_max, recipe.m_max) == (12, 12)
            assert recipe.seconds == (4 if name == "imagenet" else 1) * 24 * 3600
            assert recipe.class_dropout == (0.1 if name == "imagenet" else 0)
        assert (suite.evaluation.samples, suite.evaluation.extractor) == (50_000, "inception-v3-compat")
    # without classes, the label table has one row, the null label's
    with_classes, without = (parameters(get_suite(name).baseline.config) for name in ("imagenet", "ffhq"))
    assert with_classes - without == 1000 * 1152


def test_ablations_are_trained_for_a_day_and_the_twins_of_imagenet_for_four():
    cells = get_cells("unroll", get_suite("imagenet"), Selection())
    assert {cell.run.recipe.seconds for cell in cells} == {24 * 3600}
    cells = get_cells("smoothing", get_suite("imagenet"), Selection())
    assert {cell.run.recipe.seconds for cell in cells} == {4 * 24 * 3600}


@pytest.mark.parametrize("suite", LATENT)
def test_cells_are_listed_anywhere(suite, tmp_path, capsys):
    assert main(["--suite", suite, "--grid", "smoothing", "--list", "--results", str(tmp_path)]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    quality = [row for row in rows if row["measure"] == "quality"]
    assert {row["samples"] for row in quality} == {"50000"}
    assert {int(row["budget"]) for row in quality} == {140, 280, 560}
    assert len({row["key"] for row in rows}) == len(rows)
    assert not list(tmp_path.iterdir())


def test_the_plan_says_what_a_cluster_suite_takes(tmp_path, capsys):
    assert main(["--suite", "imagenet", "--grid", "smoothing", "--plan", "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("GPU-hours: 1,536 of training, 8 at once; about ") for line in lines)  # 2 x 4 days x 8
    dit = next(line for line in lines if line.startswith("memory of a GPU, computed: dit"))
    assert "35.4 GiB for its 64 images at once, 23.4 GiB in micro-batches of 32, 13.7 GiB with --grad-" in dit
    disk = next(line for line in lines if line.startswith("disk: "))
    assert "latents 42.0" in disk  # 1,281,167 x 2 x 8 x 32 x 32 x 2 bytes
    assert "checkpoints of 2 runs 12.2" in disk  # (674.8 M + 86.5 M) x 16 bytes
    assert lines[-1].startswith("there is no reference yet (bench/reference.py)")
    assert not list(tmp_path.iterdir())


def test_a_v100_is_assumed_to_be_as_fast_as_the_paper_says():
    """400,000 steps of 512 images in four days on eight."""
    images_per_s = 400_000 * 512 / (4 * 24 * 3600 * 8)
    assert images_per_s == pytest.approx(74.07, abs=0.01)
    macs = forward_macs(get_suite("imagenet").baseline.config)
    assert assumed_gpu_macs_per_s() == pytest.approx(3 * macs * images_per_s)


def test_a_reference_is_part_of_the_identity_of_cells(tmp_path):
    suite, store = get_suite("ffhq"), Store(tmp_path, "ffhq")

    def cell():
        return get_cells("datasets", suite, resolved(Selection(), store, suite))[0]

    unknown = cell()
    reference = Reference("ffhq", 70_000, 256, "ab" * 32, "inception-v3-compat", "6726825d0123abcd")
    write_reference(store.root, reference)
    known = cell()
    assert (known.protocol.reference_digest, known.protocol.extractor_digest) == (
        reference.identity,
        "6726825d0123abcd",
    )
    assert known.key != unknown.key
    changes = {
        "dataset": "church",
        "images": 1,
        "image_size": 128,
        "digest": "",
        "extractor": "",
        "extractor_digest": "",
    }
    others = {replace(reference, **{name: value}).identity for name, value in changes.items()}
    assert len(others | {reference.identity}) == 7
    write_reference(store.root, reference)  # the same again
    with pytest.raises(BadInputError, match="is of other images or features"):
        write_reference(
            store.root, Reference("ffhq", 69_999, 256, "cd" * 32, "inception-v3-compat", "6726825d0123abcd")
        )
    assert read_reference(store.root) == reference
    (store.root / "reference.json").write_text("{")
    with pytest.raises(BadInputError, match=r"reference.json is damaged"):
        cell()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--size", "M/2"], "--size M/2: write one of XS, S, B, L, XL, a slash and a patch size that divides 32"),
        (["--size", "S/3"], "--size S/3: write one of"),
        (["--batch-size", "0"], "--batch-size 0: must be 1 or more"),
        (["--micro-batch", "0", "--device", "cpu"], "--micro-batch 0: must be 1 or more"),
        (["--prepared", "nowhere", "--device", "cpu"], "nowhere/ffhq/latents/manifest.json: no such file"),
        (["--executor", "cloud"], "executor"),
        (["--executor", "slurm", "--profile", "x100"], "profile x100: it should be one of"),
    ],
)
def test_bad_input_is_one_line_and_status_2(flags, complaint, tmp_path, capsys):
    base = ["--suite", "ffhq", "--grid", "datasets", "--results", str(tmp_path / "results")]
    assert run(main, [*base, *flags]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert complaint in error
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_latents_of_another_shape_are_refused(tmp_path):
    suite = get_suite("ffhq")
    run_ = training_run(suite, suite.baseline, Selection())
    latents = Latents.__new__(Latents)
    latents.shape = (4, 16, 16)
    with pytest.raises(
        BadInputError, match=r"latents of ffhq are 4x16x16, dit takes 4x32x32: encode images of 256 pixels"
    ):
        check_latents(latents, run_)


def test_sizes_change_both_twins_and_nothing_else():
    small = get_suite("imagenet", "S/4", 64)
    dit, fpdm = small.baseline, small.subject
    assert (dit.config.hidden_size, dit.config.patch_size, dit.config.depth) == (384, 4, 12)
    assert (fpdm.config.hidden_size, fpdm.config.patch_size, fpdm.config.n_pre) == (384, 4, 1)
    assert dit.config.num_classes == 1000
    assert dit.recipe.batch_size == fpdm.recipe.batch_size == 64
    assert get_suite("imagenet") == SUITES["imagenet"]


def test_without_a_reference_nothing_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bench.data.sources.check_training_data", lambda runs, places: None)
    results = tmp_path / "results"
    assert run(main, ["--suite", "ffhq", "--grid", "datasets", "--device", "cpu", "--results", str(results)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "ffhq/reference.json is not there" in error
    assert "bench/reference.py --suite ffhq --data DIR" in error
    assert not results.exists()


def test_unequal_trainings_are_not_compared(tmp_path):
    suite, store = get_suite("digits"), Store(tmp_path, "digits")
    dit, fpdm = (training_run(suite, one, Selection()) for one in suite.chosen(None))

    def trained(run_, **changes):
        summary = {"digest": "d", "status": "done", "step": 1, "elapsed_s": 100.0, "data": "a" * 64, "ranks": 1}
        write_json(store.training_path(run_), summary | {"environment": {"hardware": "abacus"}} | changes)

    trained(dit)
    check_comparable(store, [dit, fpdm])  # one is not trained yet
    trained(fpdm)
    check_comparable(store, [dit, fpdm])
    for changes, what in (
        ({"ranks": 8}, "ranks 8, .* with 1"),
        ({"environment": {"hardware": "slide rule"}}, "hardware slide rule, .* with abacus"),
        ({"execution": "compiled"}, "options compiled, .* with none"),
        ({"data": "b" * 64}, "data bbbbbbbbbbbbbbbb, .* with aaaaaaaaaaaaaaaa"),
    ):
        trained(fpdm, **changes)
        with pytest.raises(BadInputError, match=f"^{fpdm.name} was trained with {what}"):
            check_comparable(store, [dit, fpdm])
    trained(fpdm)
    again = replace(fpdm, seed=1)
    trained(again, environment={"hardware": "slide rule"})  # another replicate
    check_comparable(store, [dit, fpdm, again])
    by_steps = [training_run(suite, one, Selection(train_steps=5)) for one in suite.chosen(None)]
    trained(by_steps[0])
    trained(by_steps[1], ranks=2)
    check_comparable(store, by_steps)
