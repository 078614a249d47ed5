"""`--suite folder`: a folder of images compared with both twins, from nothing to tables, and what is refused."""

import json
import shutil

import pytest
import torch
from made_images import encoded

import bench.store
from bench import run_grid, train
from bench.data.own import read
from bench.prepare.own_images import Own, describe, opened
from bench.quality.extractor import make_extractor
from bench.spec.arguments import Places, Running, Training, What
from bench.spec.cells import Cell
from bench.spec.extractors import EXTRACTORS, INCEPTION, PIXELS
from bench.spec.grids.catalogue import get_cells
from bench.spec.measurements import Floor
from bench.spec.selection import Selection
from bench.spec.suites import get_suite
from bench.store.own_images import read_own, write_own
from bench.system.errors import BadInputError

SMALL = ("--size", "XS/8", "--grid", "datasets", "--budget", "12", "--samples", "12", "--train-steps", "2")
SMALL = (*SMALL, "--seeds", "0", "--workers", "1", "--device", "cpu")


def make(folder, count, start=0, **options):
    """PNG files in two folders."""
    for i in range(count):
        path = folder / "ab"[i % 2] / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(start + i, "png", **options))
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images, held-out ones and others."""
    folder = tmp_path_factory.mktemp("images")
    make(folder / "train", 20)
    make(folder / "test", 14, start=100)
    make(folder / "other", 12, start=200)
    make(folder / "grey", 12, start=300, mode="L")
    return folder


@pytest.fixture(scope="module")
def compared(images, tmp_path_factory):
    """The results of both twins on the images, with a floor; and the command that made them."""
    results = tmp_path_factory.mktemp("own") / "results"
    command = ["--suite", "folder", "--classes", "from-folders", "--results", str(results), *SMALL]
    command += ["--data", str(images / "train")]
    assert run_grid.main([*command, "--held-out", str(images / "test")]) == 0
    return results, command


def identify(places, own=Own(), training=Training()):
    return opened(own, What("folder"), training, Running(device="cpu"), places)


def test_both_twins_are_compared_on_a_folder(compared, images):
    results, _ = compared
    frame = bench.store.load(results / "folder")
    assert set(frame.status) == {"done"}
    assert set(frame[frame.measure == "quality"].label) == {"DiT", "FPDM"}
    (floor,) = frame[frame.measure == "floor"].fd
    assert 0 < floor < frame[frame.measure == "quality"].fd.min()
    kept = json.loads((results / "folder" / "dataset.json").read_text())
    assert (kept["count"], kept["image_size"], kept["channels"]) == (20, 32, 3)
    assert (kept["classes"], kept["extractor"], kept["twins"]) == (["a", "b"], PIXELS, "cpu")
    record = json.loads((results / "folder" / frame.path[0]).read_text())
    assert record["inputs"].get("reference", kept["digest"]) == kept["digest"]


def test_tables_say_that_the_judge_is_weak_and_have_no_published_number(compared):
    results, _ = compared
    (table,) = results.rglob("table2.md")
    text = table.read_text()
    assert "own images" in text
    assert "weak pixel-PCA features" in text
    assert "ublished" not in text + table.with_suffix(".csv").read_text() + table.with_suffix(".tex").read_text()
    assert "CelebA" not in text


def test_what_is_done_is_not_done_again(compared, images, capsys):
    _, command = compared
    assert run_grid.main(command) == 0
    assert "nothing to evaluate" in capsys.readouterr().out
    without = [word for word in command if word not in ("--data", str(images / "train"))]
    assert run_grid.main(without) == 0  # the results know whose they are
    assert "nothing to evaluate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"--data": "other"}, r"digest was \w{24}, now \w{24}; choose another --results"),
        ({"--classes": "none"}, r"classes was a, b, now none"),
        ({"--image-size": "16"}, "image_size was 32, now 16"),
        ({"--twins": "gpu"}, "twins was cpu, now gpu"),
        ({"--held-out": "other"}, r"held_out was \w{24}, now"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("command", [run_grid.main, train.main])
def test_results_of_other_images_are_refused(changes, complaint, command, compared, images):
    results, _ = compared
    own = ["--suite", "folder", "--results", str(results), "--device", "cpu", "--data", str(images / "train")]
    for name, value in changes.items():
        own += [name, str(images / value) if (images / value).exists() else value]
    before = sorted(path for path in results.rglob("*"))
    with pytest.raises(BadInputError, match=rf"folder has results of other images: {complaint}"):
        command([*own, *(["--train-steps", "1"])])
    assert sorted(path for path in results.rglob("*")) == before


def test_images_may_be_held_out_later(images, tmp_path):
    places = Places(tmp_path, data=images / "train")
    own = identify(places)
    write_own(tmp_path, own)
    before = {cell.key for cell in get_cells("datasets", get_suite("folder", own=own), Selection())}
    later = identify(Places(tmp_path, data=images / "train", held_out=images / "test"))
    write_own(tmp_path, later)
    assert read_own(tmp_path) == later
    cells = get_cells("datasets", get_suite("folder", own=later), Selection(samples=14))
    assert later.held_out.count == 14
    assert len([cell for cell in cells if isinstance(cell, Floor)]) == 1
    same = get_cells("datasets", get_suite("folder", own=later), Selection())
    assert before == {cell.key for cell in same if isinstance(cell, Cell)}
    assert identify(places) == later  # they stay, also where they are not named


def test_cells_of_other_images_are_other_cells(images, tmp_path):
    keys, runs = [], []
    for name in ("train", "other"):
        suite = get_suite("folder", own=identify(Places(tmp_path, data=images / name)))
        cells = [cell for cell in get_cells("all", suite, Selection()) if cell.run is not None]
        keys.append({cell.key for cell in cells})
        runs.append({cell.run.name for cell in cells})
    assert len(keys[0]) == len(keys[1]) > 500
    assert not keys[0] & keys[1]
    assert not runs[0] & runs[1]


@pytest.mark.parametrize(("twins", "size", "tokens", "width"), [("cpu", 32, 64, 64), ("gpu", 32, 256, 256)])
def test_twins_are_of_a_size_for_the_machine(twins, size, tokens, width, images, tmp_path):
    own = identify(Places(tmp_path, data=images / "train"), Own(image_size=size, twins=twins))
    suite = get_suite("folder", own=own)
    dit, fpdm = suite.baseline.config, suite.subject.config
    assert dit.tokens == fpdm.tokens == tokens
    assert (dit.depth, dit.hidden_size, dit.in_channels, dit.num_classes) == (28, width, 3, 0)
    assert suite.baseline.recipe.class_dropout == 0
    assert {one.recipe.seconds for one in suite.contenders} == {600 if twins == "gpu" else 300}


@pytest.mark.parametrize("size", [8, 16, 48, 64, 112, 128])
def test_every_image_size_has_a_patch_that_divides_it(size, images, tmp_path):
    for twins in ("cpu", "gpu"):
        own = identify(Places(tmp_path, data=images / "grey"), Own(image_size=size, twins=twins))
        config = get_suite("folder", own=own).baseline.config
        assert config.input_size % config.patch_size == 0
        assert config.tokens <= 256


def test_a_shipped_extractor_judges_images_that_it_takes(images, tmp_path):
    own = identify(Places(tmp_path, data=images / "grey"), Own(extractor="fashion-cnn"))
    assert own.extractor_digest == EXTRACTORS["fashion-cnn"].digest
    assert describe(own).startswith("12 images of 32x32 pixels, grey, no classes, digest ")
    assert describe(own).endswith("; fashion-cnn features; twins for a CPU")


def test_inception_judges_where_its_weights_are_given(images, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.quality.inception.load_inception", lambda *_: type("Made", (), {"digest": "ab" * 8}))
    given = Places(tmp_path, data=images / "train", inception_weights=tmp_path / "weights")
    own = identify(given)
    assert (own.extractor, own.extractor_digest) == (INCEPTION, "ab" * 8)
    protocol = get_cells("datasets", get_suite("folder", own=own), Selection())[0].protocol
    assert (protocol.extractor, protocol.extractor_digest) == (INCEPTION, "ab" * 8)
    assert identify(given, Own(extractor="pixels")).extractor == PIXELS


def test_a_floor_needs_as_many_images_as_a_cell_has_samples(images, tmp_path):
    flags = ["--suite", "folder", "--data", str(images / "train"), "--held-out", str(images / "test"), "--list"]
    with pytest.raises(BadInputError, match=r"test: 14 images .* the floor needs 500, .*or --samples 14"):
        run_grid.main([*flags, "--results", str(tmp_path)])
    assert run_grid.main([*flags, "--results", str(tmp_path), "--samples", "14"]) == 0
    assert not list(tmp_path.iterdir())


def test_held_out_images_have_the_same_classes_and_channels(images, tmp_path):
    by_folder = Training(classes="from-folders")
    make(tmp_path / "renamed", 12, start=400)
    shutil.move(tmp_path / "renamed" / "a", tmp_path / "renamed" / "c")
    places = Places(tmp_path, data=images / "train", held_out=tmp_path / "renamed")
    with pytest.raises(BadInputError, match="its folders are b, c; name them as in --data"):
        identify(places, training=by_folder)
    with pytest.raises(BadInputError, match="its images have colours, those of --data are grey"):
        identify(Places(tmp_path, data=images / "grey", held_out=images / "test"))
    assert identify(Places(tmp_path, data=images / "train", held_out=images / "grey")).held_out.count == 12


def test_a_damaged_description_is_one_clear_error(images, tmp_path):
    write_own(tmp_path, identify(Places(tmp_path, data=images / "train")))
    for content in ("{", "[]", '{"count": 3}'):
        (tmp_path / "folder" / "dataset.json").write_text(content)
        with pytest.raises(BadInputError, match=r"dataset.json is damaged \(.*\): delete it"):
            read_own(tmp_path)


def test_distances_of_few_images_are_those_of_their_pixels(images):
    data = read(images / "train", 32, False).images
    extractor = make_extractor(PIXELS, torch.device("cpu"), None, data)
    features, pixels = extractor(data), (data.float() / 127.5 - 1).flatten(1)
    torch.testing.assert_close(torch.cdist(features, features), torch.cdist(pixels, pixels), rtol=1e-3, atol=1e-3)
    large = data.repeat_interleave(3, dim=-1).repeat_interleave(3, dim=-2)
    torch.testing.assert_close(extractor(large), features, rtol=1e-3, atol=1e-3)  # sees 32 pixels a side
    many = torch.randint(0, 256, (80, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    extractor = make_extractor(PIXELS, torch.device("cpu"), None, many)
    assert extractor.dimensions == extractor(many).shape[1] == 64
    torch.testing.assert_close(extractor(many).mean(0), torch.zeros(64), rtol=0, atol=1e-4)
