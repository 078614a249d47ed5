import errno
import gzip
import io
import os
import shutil
import struct
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from faults import fault
from made_images import encoded, make_files, make_imagenet, picture
from PIL import Image

from bench.data import fashion
from bench.data.decoding import decode
from bench.data.images import check_classes, check_count, dataset_digest, open_images
from bench.data.pixels import ImageData, load_dataset, load_held_out
from bench.prepare.reading import Reader
from bench.spec.datasets import DATASETS, Dataset, get_dataset, register
from bench.system.errors import BadInputError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def test_imagenet_is_ordered_by_class_and_name(tmp_path):
    images = make_imagenet(tmp_path, (3, 11, 2))
    (tmp_path / "train" / "n01440764" / "notes.txt").write_text("")
    (tmp_path / "train" / "lost+found").mkdir()
    for path in (tmp_path, tmp_path / "train"):
        source = open_images("imagenet", path)
        names = [source.name(i) for i in range(len(source))]
        assert names == sorted(names)
        assert names[3].endswith("n01441764/n01441764_0.JPEG")
        assert names[5].endswith("n01441764/n01441764_10.JPEG")
        assert source.labels.tolist() == [0] * 3 + [1] * 11 + [2] * 2
        assert source.labels.dtype == np.int64
    order = [0, 1, 2, 3, 4, 13, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15]  # _10 comes after _1
    assert [source.read(i) for i in range(16)] == [images[i] for i in order]


def digest(source, workers):
    batches = list(Reader(source, 32, 3, workers, skip_bad=True).batches(range(len(source))))
    assert not any(batch.unreadable for batch in batches)
    assert np.concatenate([batch.indices for batch in batches]).tolist() == list(range(len(source)))
    return dataset_digest(source.labels, np.concatenate([batch.hashes for batch in batches]))


def test_a_folder_and_a_zip_file_of_the_same_images_agree(tmp_path):
    make_files(tmp_path / "ffhq")
    with zipfile.ZipFile(tmp_path / "ffhq.zip", "w") as file:
        for path in sorted((tmp_path / "ffhq").rglob("*.*"), reverse=True):
            file.write(path, Path("images256x256") / path.relative_to(tmp_path / "ffhq"))
        file.writestr("__MACOSX/._00000.png", b"")
    folder, packed = open_images("ffhq", tmp_path / "ffhq"), open_images("celebahq", tmp_path / "ffhq.zip")
    assert len(folder) == len(packed) == 7
    assert folder.name(1) == "00000/00001.JPG"
    packed.read(0)  # opened here, and again in each worker
    assert digest(folder, 0) == digest(folder, 2) == digest(packed, 0) == digest(packed, 2)
    expected = sha256(np.zeros(7, dtype="<i8").tobytes())
    for i in range(7):
        expected.update(sha256(folder.read(i)).digest())
    assert digest(folder, 0) == expected.hexdigest()
    assert dataset_digest(np.ones(7), np.zeros((7, 32), np.uint8)) != dataset_digest(
        np.zeros(7), np.zeros((7, 32), np.uint8)
    )


def test_batches_are_the_cropped_images_in_order(tmp_path):
    make_files(tmp_path)
    source = open_images("ffhq", tmp_path)
    batches = list(Reader(source, 32, 2, 0, skip_bad=True).batches(range(2, 7)))
    assert [batch.indices.tolist() for batch in batches] == [[2, 3], [4, 5], [6]]
    assert batches[1].images.dtype == torch.uint8
    assert np.array_equal(batches[1].images[1], decode(source.read(5), 32))


@pytest.fixture
def churches(tmp_path):
    """An lmdb as LSUN's: keys are hexadecimal digests, values WebP (or JPEG) files."""
    folder = tmp_path / "lsun" / "church_outdoor_train_lmdb"
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for i in range(9):
            key = sha256(str(i).encode()).hexdigest()[:40].encode()
            transaction.put(key, encoded(i, "webp" if i % 2 else "jpeg"))
    return folder


@pytest.mark.filterwarnings("ignore:unclosed file")  # torchvision leaves its cache file to the garbage collector
def test_churches_are_torchvision_s_in_the_same_order(churches, tmp_path, monkeypatch):
    from torchvision.datasets import LSUNClass

    monkeypatch.chdir(tmp_path)  # where torchvision leaves its cache
    theirs = LSUNClass(str(churches))
    expected = [np.asarray(theirs[i][0]) for i in range(len(theirs))]
    theirs.env.close()
    (cache,) = tmp_path.glob("_cache_*")
    cache.unlink()
    for path in (churches, churches.parent):
        source = open_images("church", path)
        assert len(source) == len(expected) == 9
        assert source.labels.tolist() == [0] * 9
        for i, pixels in enumerate(expected):
            found = np.asarray(Image.open(io.BytesIO(source.read(i))).convert("RGB"))
            assert np.array_equal(found, pixels)
    assert digest(source, 0) == digest(source, 2)
    assert not list(tmp_path.glob("_cache_*"))


def test_a_truncated_lmdb_is_found_before_it_is_read(churches):
    file = churches / "data.mdb"
    os.truncate(file, 4096 * 3)
    with pytest.raises(BadInputError, match=r"data.mdb: damaged"):
        open_images("church", churches)
    file.write_bytes(b"no lmdb" * 1000)
    with pytest.raises(BadInputError, match=r"data.mdb: damaged"):
        open_images("church", churches)


@pytest.mark.parametrize(
    ("dataset", "expected"), [("imagenet", "<wnid>"), ("ffhq", "webp"), ("church", "church_outdoor_train_lmdb")]
)
def test_what_is_not_there_is_told_with_the_layout_that_is_expected(dataset, expected, tmp_path):
    with pytest.raises(BadInputError, match=expected):
        open_images(dataset, tmp_path)
    with pytest.raises(BadInputError, match="no such file or folder"):
        open_images(dataset, tmp_path / "elsewhere")


@pytest.mark.parametrize("dataset", ["ffhq", "imagenet"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_listed_is_not_left_out(dataset, number, tmp_path):
    (make_files if dataset == "ffhq" else make_imagenet)(tmp_path)
    lost = "00001" if dataset == "ffhq" else "n01441764"
    with fault("list", lost, number) as failed, pytest.raises(OSError) as caught:
        open_images(dataset, tmp_path)
    assert (caught.value.errno, os.fsdecode(caught.value.filename)) == (number, failed[0])


def test_other_bad_input(tmp_path):
    with pytest.raises(BadInputError, match=r"unknown dataset 'cifar': choose one of .*imagenet, celebahq, ffhq"):
        open_images("cifar", tmp_path)
    with pytest.raises(BadInputError, match="dataset digits has no image files"):
        open_images("digits", tmp_path)
    (tmp_path / "ffhq.zip").write_bytes(b"PK, but no zip file")
    with pytest.raises(BadInputError, match="neither a folder nor a readable zip"):
        open_images("ffhq", tmp_path / "ffhq.zip")
    make_files(tmp_path / "ffhq")
    source = open_images("ffhq", tmp_path / "ffhq")
    with pytest.raises(BadInputError, match=r"found 7 images, expected 70,000; .*--any-count"):
        check_count("ffhq", source, any_count=False)
    check_count("ffhq", source, any_count=True)


def test_class_folders_without_images_are_named(tmp_path):
    make_imagenet(tmp_path, (2, 0, 1, 0))
    (tmp_path / "train" / "n01443764" / "0.png").write_bytes(encoded(0, "png"))  # not a name of ImageNet's
    with pytest.raises(BadInputError, match=r"no JPEG files in 2 of 4 class folders .n01441764, n01443764.; complete"):
        open_images("imagenet", tmp_path)
    shutil.rmtree(tmp_path / "train" / "n01443764")
    (tmp_path / "train" / "n01443764").write_bytes(b"")  # no folder
    (tmp_path / "train" / "n01441764" / "0.JPEG").write_bytes(encoded(0))
    assert open_images("imagenet", tmp_path).labels.tolist() == [0, 0, 1, 2]


def test_every_class_has_images_and_no_label_is_beyond_them():
    check_classes(np.array([2, 0, 1]), 3, "a dataset")  # one image of a class is enough
    check_classes(np.zeros(5, np.int64), 0, "a dataset without classes")
    refused = {
        r"^three: no images of 997 of 1,000 classes .labels 3, 4, 5, \.\.\.., but .*give every command --classes N": (
            np.array([0, 1, 2]),
            1000,
        ),
        r"^three: no images of 1 of 3 classes .labels 1.,": (np.array([0, 2, 2]), 3),
        r"^three: label 3 is beyond the 3 classes": (np.array([0, 1, 2, 3]), 3),
        r"^three: label 2 is beyond the 0 classes": (np.array([0, 1, 2]), 0),
    }
    for message, (labels, classes) in refused.items():
        with pytest.raises(BadInputError, match=message) as error:
            check_classes(labels, classes, "three")
        assert "\n" not in str(error.value)


def test_a_damaged_member_of_a_zip_file_is_unreadable(tmp_path):
    with zipfile.ZipFile(tmp_path / "ffhq.zip", "w") as file:
        file.writestr("0.png", encoded(0, "png"))
        file.writestr("1.png", encoded(1, "png"))
    content = bytearray((tmp_path / "ffhq.zip").read_bytes())
    content[100] ^= 0xFF
    (tmp_path / "ffhq.zip").write_bytes(content)
    source = open_images("ffhq", tmp_path / "ffhq.zip")
    (batch,) = Reader(source, 32, 2, 0, skip_bad=True).batches(range(2))
    assert [image.name for image in batch.unreadable] == ["0.png"]
    assert "CRC" in batch.unreadable[0].reason


def make_idx(path, images=3, digest_fits=True):
    """Files in the format of Fashion-MNIST, of other images."""
    path.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([np.asarray(picture(i, (28, 28), "L")) for i in range(images)]).tobytes()
    header = struct.pack(">BBBBIII", 0, 0, 8, 3, images, 28, 28)
    with gzip.open(path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(header + pixels)
    (path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, images) + bytes(range(images)))
    return path


def test_fashion_files_are_read_and_held_against_the_digest(tmp_path, monkeypatch):
    path = make_idx(tmp_path / "FashionMNIST" / "raw")
    with pytest.raises(BadInputError, match=r"train images have digest .* download it again"):
        load_dataset("fashion", tmp_path)
    images = np.stack([np.pad(np.asarray(picture(i, (28, 28), "L")), 2) for i in range(3)])
    known = sha256(images.tobytes() + np.arange(3, dtype="<i8").tobytes()).hexdigest()
    monkeypatch.setitem(DATASETS, "fashion", replace(get_dataset("fashion"), digest=known))
    for folder in (tmp_path, path):
        data = load_dataset("fashion", folder)
        assert torch.equal(data.images, torch.from_numpy(images)[:, None])
        assert data.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"])
def test_damaged_fashion_files(name, tmp_path):
    file = make_idx(tmp_path) / name
    content = file.read_bytes()
    for damaged in (content[:-2], content[:6], b"", b"\1\2\3\4" + content[4:]):
        file.write_bytes(damaged)
        with pytest.raises(BadInputError, match=rf"{name}: damaged"):
            fashion.load(tmp_path)
    file.unlink()
    with pytest.raises(BadInputError, match="expected the four files"):
        fashion.load(tmp_path)
    with pytest.raises(BadInputError, match="choose from train, test"):
        fashion.load(tmp_path, "validation")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_itself(tmp_path):
    train, held_out = load_dataset("fashion", DEBIAN), load_held_out("fashion", DEBIAN)
    registered = get_dataset("fashion")
    assert train.images.shape == (registered.count, 1, 32, 32) == (60000, 1, 32, 32)
    assert held_out.images.shape == (registered.held_out.count, 1, 32, 32) == (10000, 1, 32, 32)
    assert train.labels.bincount().tolist() == [6000] * 10
    inner = train.images[:, :, 2:30, 2:30]
    assert inner.float().mean() == pytest.approx(72.94, abs=0.01)  # published: 0.2860 of 255
    assert train.images.double().sum() == inner.double().sum()  # the border is black
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        with gzip.open(DEBIAN / f"{name}.gz") as packed, (tmp_path / name).open("wb") as file:
            shutil.copyfileobj(packed, file)
    assert fashion.load(tmp_path, "test").digest == held_out.digest == registered.held_out.digest
    some, labels = held_out.balanced(2000), held_out.labels
    first = [int((labels == label).nonzero()[0]) for label in range(10)]
    assert torch.equal(some[:10], held_out.images[first])
    assert held_out.balanced(10_000).double().sum() == held_out.images.double().sum()
    with pytest.raises(ValueError, match="10001 images with balanced labels: there are 1000 of a label"):
        held_out.balanced(10_001)


def test_fashion_is_looked_for_where_it_usually_is(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion, "USUAL", (tmp_path / "data", tmp_path / "elsewhere"))
    with pytest.raises(BadInputError, match=r"no Fashion-MNIST in .*data or .*elsewhere: give its folder by --data"):
        load_dataset("fashion")
    make_idx(tmp_path / "elsewhere")
    assert fashion.usual() == tmp_path / "elsewhere"
    make_idx(tmp_path / "data" / "FashionMNIST" / "raw")
    assert fashion.usual() == tmp_path / "data"
    with pytest.raises(BadInputError, match="train images have digest"):
        load_dataset("fashion")


def squares(folder, split):
    """A pixel dataset of two images, as one module would open it."""
    assert (folder, split) == (None, "train")
    return ImageData(torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4), torch.tensor([0, 1]))


def test_one_registration_adds_a_dataset(monkeypatch, tmp_path):
    monkeypatch.setattr("bench.spec.datasets.DATASETS", {})
    opens, digest = f"{__name__}:squares", squares(None, "train").digest
    register(Dataset("squares", "Squares", "pixels", 2, opens, digest=digest))
    register(Dataset("files", "Files", "latents", 7, "bench.data.image_files:open_files"))
    assert load_dataset("squares").labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="dataset squares has no test images"):
        load_held_out("squares")
    with pytest.raises(ValueError, match="'squares' is registered twice"):
        register(get_dataset("squares"))
    make_files(tmp_path)
    source = open_images("files", tmp_path)
    check_count("files", source, any_count=False)
    assert len(source) == 7
    assert [name for name in ("squares", "files") if get_dataset(name).is_latent] == ["files"]


def test_digits_have_as_many_images_as_registered():
    assert len(load_dataset("digits").images) == get_dataset("digits").count
