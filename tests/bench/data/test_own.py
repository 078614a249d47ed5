"""Any images of a user as a pixel dataset: crops, labels, digests, and what cannot be read."""

import io
import zipfile

import numpy as np
import pytest
from made_images import encoded
from PIL import Image

from bench.data.decoding import decode
from bench.data.own import load, read
from bench.data.pixels import ImageData, load_dataset
from bench.spec.datasets import HeldOut, OwnImages, get_dataset
from bench.system.errors import BadInputError


def make(folder, names, **options):
    """A PNG file of its own for each name."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(i, "png", **options))
    return folder


def test_images_are_crops_of_one_size_in_the_order_of_their_names(tmp_path):
    make(tmp_path, ["b.png", "a.png", "c/d.png"])
    data = read(tmp_path, 16, False)
    assert data.images.shape == (3, 3, 16, 16)
    expected = np.stack([decode(encoded(i, "png"), 16) for i in (1, 0, 2)])
    assert (data.images.numpy() == expected).all()
    assert (data.labels.tolist(), data.classes) == ([0, 0, 0], ())


def test_folders_are_classes(tmp_path):
    names = ["wrapped/cat/1.png", "wrapped/ant/x/2.png", "wrapped/cat/3.png"]
    data = read(make(tmp_path, names), 8, True)
    assert data.classes == ("ant", "cat")
    assert data.labels.tolist() == [0, 1, 1]
    make(tmp_path, ["wrapped/4.png"])
    read.cache_clear()
    with pytest.raises(BadInputError, match=r"wrapped/4.png lies in no folder of a class"):
        read(tmp_path, 8, True)


def test_a_zip_file_is_as_good_as_its_folder(tmp_path):
    names = ["cat/1.png", "ant/2.png"]
    folder = make(tmp_path / "folder", names)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for name in names:
            file.write(folder / name, name)
    one, other = read(folder, 16, True), read(tmp_path / "images.zip", 16, True)
    assert ImageData(one.images, one.labels).digest == ImageData(other.images, other.labels).digest
    assert one.classes == other.classes


def test_grey_images_have_one_channel_and_a_coloured_one_among_them_gives_all_three(tmp_path):
    make(tmp_path, ["1.png", "2.png"], mode="L")
    grey = read(tmp_path, 16, False)
    assert grey.images.shape == (2, 1, 16, 16)
    assert load(tmp_path, "train", 16, 3, False).images.shape == (2, 3, 16, 16)
    (tmp_path / "3.png").write_bytes(encoded(3, "png"))
    read.cache_clear()
    assert read(tmp_path, 16, False).images.shape == (3, 3, 16, 16)


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    make(tmp_path, ["1.png", "sub/2.png"])
    (tmp_path / "sub" / "2.png").write_bytes(encoded(0, "png")[:80])
    with pytest.raises(BadInputError, match=r"sub/2.png cannot be read \(.*\): repair or remove it"):
        read(tmp_path, 8, False)


def own_of(folder, size=16):
    data = read(folder, size, False)
    digest = ImageData(data.images, data.labels).digest
    return OwnImages(len(data.images), size, data.images.shape[1], (), digest, "pixels", "d", "cpu", HeldOut("e", 3))


def test_the_name_of_the_dataset_says_what_any_process_needs(tmp_path):
    own = own_of(make(tmp_path, ["1.png", "2.png"]))
    dataset = get_dataset(own.dataset)
    assert (dataset.digest, dataset.count, dataset.is_latent) == (own.digest, 2, False)
    assert load_dataset(own.dataset, tmp_path).digest == own.digest
    assert OwnImages.from_spec(own.spec()) == own
    with pytest.raises(BadInputError, match="--suite folder: give its images again, by --data"):
        load_dataset(own.dataset)


def test_images_that_changed_meanwhile_are_refused(tmp_path):
    own = own_of(make(tmp_path, ["1.png", "2.png"]))
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "png")
    (tmp_path / "2.png").write_bytes(file.getvalue())
    read.cache_clear()
    with pytest.raises(BadInputError, match=rf"other images than before \(digest \w+, then {own.digest[:12]}\)"):
        load_dataset(own.dataset, tmp_path)
