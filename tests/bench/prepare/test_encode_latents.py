import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from faults import no_modes, refused
from huggingface_hub.errors import LocalEntryNotFoundError
from made_images import make_imagenet, make_vae
from safetensors.torch import load_file, save_file

from bench import encode_latents
from bench.data.decoding import decode
from bench.data.images import dataset_digest, open_images
from bench.data.latents import Latents
from bench.prepare.shards import first_shard
from bench.system.command_line import run
from bench.system.errors import BadInputError
from models.autoencoder import LatentAutoencoder, PixelAutoencoder

ROOT = Path(__file__).parents[3]
SHARD = 5  # images; 22 of them make 5 shards


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return make_vae(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    make_imagenet(folder)
    return folder


@pytest.fixture
def damaged(imagenet, tmp_path):
    """A dataset with four unreadable images, of which three are in the second shard, 5..9, and one in the last."""
    shutil.copytree(imagenet, tmp_path / "damaged")
    source = open_images("imagenet", tmp_path / "damaged")
    for i in (5, 7, 9, 21):
        (tmp_path / "damaged" / "train" / source.name(i)).write_bytes(b"")
    return tmp_path / "damaged"


def options(data, vae, prepared, *more):
    paths = ["--data", str(data), "--vae", str(vae), "--prepared", str(prepared)]
    sizes = ["--image-size", "32", "--batch-size", "2", "--shard-images", str(SHARD), "--workers", "0"]
    return ["--suite", "imagenet", "--device", "cpu", "--any-count", "--classes", "3", *paths, *sizes, *more]


def encode(data, vae, prepared, *more):
    assert encode_latents.main(options(data, vae, prepared, *more)) == 0
    return prepared / "imagenet" / "latents"


@pytest.fixture(scope="module")
def whole(imagenet, vae, tmp_path_factory):
    """Encoded without interruption."""
    return encode(imagenet, vae, tmp_path_factory.mktemp("whole"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_latents_are_those_of_the_images_and_of_their_mirror_images(whole, imagenet, vae):
    """Against diffusers itself, image by image."""
    from diffusers import AutoencoderKL

    network = AutoencoderKL.from_pretrained(vae, low_cpu_mem_usage=False)
    source, latents = open_images("imagenet", imagenet), Latents.open(whole, progress=False)
    assert len(latents) == len(source) == 22
    assert latents.labels.tolist() == source.labels.tolist()
    assert latents.shape == (4, 4, 4)
    assert latents.scaling_factor == 0.18215
    for row in (0, 4, 5, 13, 21):
        pixels = decode(source.read(row), 32)
        for mirror, image in ((False, pixels), (True, pixels[:, :, ::-1].copy())):
            with torch.no_grad():
                expected = network.encode(torch.from_numpy(image)[None].float() / 127.5 - 1).latent_dist
            found = latents.moments([row], [mirror])
            torch.testing.assert_close(found[:, :4], expected.mean, rtol=2e-3, atol=1e-4)
            torch.testing.assert_close(found[:, 4:], expected.logvar, rtol=2e-3, atol=1e-4)
        assert not torch.allclose(latents.moments([row], [False]), latents.moments([row], [True]), atol=1e-2)


def test_the_manifest_names_everything(whole, imagenet, vae):
    manifest, source = json.loads((whole / "manifest.json").read_text()), open_images("imagenet", imagenet)
    assert manifest["dataset"] == "imagenet"
    assert (manifest["image_size"], manifest["count"], manifest["moments_shape"]) == (32, 22, [8, 4, 4])
    assert manifest["vae"]["digest"] == LatentAutoencoder.load(str(vae), torch.device("cpu")).digest
    assert manifest["unreadable"] == []
    hashes = np.concatenate([np.load(path) for path in sorted(whole.glob("hashes-*.npy"))])
    assert manifest["images_digest"] == dataset_digest(source.labels, hashes)
    assert np.load(whole / "index.npy").tolist() == list(range(22))
    assert [file["images"] for file in manifest["files"] if "images" in file] == [5, 5, 5, 5, 2]
    named = {file["name"] for file in manifest["files"]}
    assert named == {path.name for path in whole.glob("*.npy")}
    assert not list(whole.glob(".*"))


def test_what_is_complete_is_not_made_again(whole, imagenet, vae, capsys):
    before = contents(whole)
    encode(imagenet, vae, whole.parent.parent)
    assert "complete (0 of 5 shards made here), 22 images, 0 left out, digest" in capsys.readouterr().out
    assert contents(whole) == before


def test_worker_processes_change_nothing(whole, imagenet, vae, tmp_path):
    folder = encode(imagenet, vae, tmp_path, "--workers", "2")
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_other_settings_are_not_mixed_in(whole, imagenet, vae, tmp_path):
    prepared, before = whole.parent.parent, contents(whole)
    for more, named in ((["--shard-images", "4"], "shard_images 5, not 4"), (["--image-size", "64"], "image_size 32")):
        with pytest.raises(BadInputError, match=named):
            encode_latents.main(options(imagenet, vae, prepared, *more))
    with pytest.raises(BadInputError, match="begun with vae"):
        encode_latents.main(options(imagenet, make_vae(tmp_path / "vae", seed=1), prepared))
    make_imagenet(tmp_path / "other", (8, 8, 6))
    with pytest.raises(BadInputError, match="begun with labels_sha256"):
        encode_latents.main(options(tmp_path / "other", vae, prepared))
    assert contents(whole) == before


def test_unreadable_images_stop_and_are_all_listed(damaged, vae, tmp_path, capsys):
    assert run(encode_latents.main, options(damaged, vae, tmp_path)) == 2
    folder = tmp_path / "imagenet" / "latents"
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error"))
    listed = folder / "moments-unreadable.txt"
    assert "4 unreadable images: n01440764/n01440764_5.JPEG (" in line
    assert str(listed) in line
    assert "--skip-bad" in line
    assert [row.split("\t")[0] for row in listed.read_text().splitlines()] == ["5", "7", "9", "21"]
    done = [path.name for path in sorted(folder.glob("moments-*.json"))]
    assert done == ["moments-00000.json", "moments-00002.json", "moments-00003.json"]  # the others are made
    assert not (folder / "moments-00001.npy").exists()
    assert not (folder / "manifest.json").exists()


def test_skipped_images_are_in_the_manifest(damaged, imagenet, vae, whole, tmp_path):
    assert run(encode_latents.main, options(damaged, vae, tmp_path)) == 2
    folder = encode(damaged, vae, tmp_path, "--skip-bad")  # goes on
    assert not list(folder.glob("*unreadable*"))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [image["index"] for image in manifest["unreadable"]] == [5, 7, 9, 21]
    assert manifest["unreadable"][0]["name"] == "n01440764/n01440764_5.JPEG"
    assert manifest["unreadable"][0]["reason"]
    kept = [i for i in range(22) if i not in (5, 7, 9, 21)]
    assert manifest["count"] == 18
    assert np.load(folder / "index.npy").tolist() == kept
    latents, all_latents = Latents.open(folder), Latents.open(whole)
    assert latents.labels.tolist() == all_latents.labels[kept].tolist()
    torch.testing.assert_close(
        latents.moments(range(18), [True] * 18), all_latents.moments(kept, [True] * 18), rtol=2e-3, atol=1e-4
    )
    assert manifest["images_digest"] != all_latents.manifest["images_digest"]


def test_what_was_left_out_stays_so_only_if_it_is_said_again(damaged, imagenet, vae, whole, tmp_path):
    folder = encode(damaged, vae, tmp_path, "--skip-bad")
    before = contents(folder)
    encode(damaged, vae, tmp_path, "--skip-bad")
    names = "moments-00001.json, moments-00004.json"
    with pytest.raises(BadInputError, match=rf"4 unreadable images were left out .*--skip-bad.* delete {names}"):
        encode_latents.main(options(damaged, vae, tmp_path))
    assert contents(folder) == before
    for name in names.split(", "):
        (folder / name).unlink()
    encode(imagenet, vae, tmp_path)  # the images are there again
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_other_images_are_not_mixed_in(damaged, imagenet, vae, tmp_path):
    assert run(encode_latents.main, options(damaged, vae, tmp_path)) == 2
    shutil.copytree(imagenet, tmp_path / "other")
    source = open_images("imagenet", tmp_path / "other")
    paths = [tmp_path / "other" / "train" / source.name(i) for i in range(22)]
    images = [path.read_bytes() for path in paths]

    def swapped(*rows):
        for i, path in enumerate(paths):
            path.write_bytes(images[(i + 1) % 22] if i in rows else images[i])
        return options(tmp_path / "other", vae, tmp_path)

    with pytest.raises(BadInputError, match=r"latents was begun with another image n01440764/n01440764_0.JPEG"):
        encode_latents.main(swapped(*range(22)))
    settings = tmp_path / "imagenet" / "latents" / "settings.json"
    begun = json.loads(settings.read_text())
    settings.write_text(json.dumps(begun | {"sample": {}}))  # as if it looked at others
    for row in (4, 10, 19):  # ends of shards that are done
        with pytest.raises(BadInputError, match=rf"was made from another image {source.name(row)}"):
            encode_latents.main(swapped(row))
    encode_latents.main(swapped())


def test_the_manifest_names_a_folder_of_the_autoencoder_wherever_it_was_called_from(
    imagenet, vae, tmp_path, monkeypatch
):
    monkeypatch.chdir(vae.parent)
    folder = encode(imagenet, vae.name, tmp_path)
    assert json.loads((folder / "manifest.json").read_text())["vae"]["source"] == str(vae)


def test_a_shard_without_readable_images(imagenet, vae, tmp_path):
    shutil.copytree(imagenet, tmp_path / "data")
    source = open_images("imagenet", tmp_path / "data")
    for i in range(5, 10):
        (tmp_path / "data" / "train" / source.name(i)).write_bytes(b"")
    latents = Latents.open(encode(tmp_path / "data", vae, tmp_path, "--skip-bad"))
    assert len(latents) == 17
    assert latents.moments([16], [False]).isfinite().all()
    for i in range(22):
        (tmp_path / "data" / "train" / source.name(i)).write_bytes(b"")
    with pytest.raises(BadInputError, match="none of its 22 images can be read"):
        encode_latents.main(options(tmp_path / "data", vae, tmp_path / "none", "--skip-bad"))


KILLED = """
import os, signal, sys
from bench import encode_latents
from bench.system import files
write_whole = files.write_whole
def killed(path, write):
    def half(file):
        write(file)
        file.flush()
        if path.name == "moments-00002.npy":
            os.kill(os.getpid(), signal.SIGKILL)
    write_whole(path, half)
files.write_whole = killed
encode_latents.main(sys.argv[1:])
"""


def start(script, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads()), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_was_killed_while_it_wrote_goes_on_to_the_same_end(imagenet, vae, whole, tmp_path):
    process = start(KILLED, *options(imagenet, vae, tmp_path))
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, complaint
    folder = tmp_path / "imagenet" / "latents"
    assert sorted(path.name for path in folder.glob("moments-*.npy")) == ["moments-00000.npy", "moments-00001.npy"]
    assert len(list(folder.glob(".moments-00002.npy.*"))) == 1
    kept = (folder / "moments-00001.npy").stat().st_mtime_ns
    with pytest.raises(BadInputError, match=r"no such file; bench/encode_latents.py"):
        Latents.open(folder)
    encode(imagenet, vae, tmp_path)
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()
    assert (folder / "moments-00001.npy").stat().st_mtime_ns == kept
    assert not list(folder.glob(".*"))
    Latents.open(folder)


SIDE_BY_SIDE = """
import sys, time
from pathlib import Path
from bench import encode_latents
from bench.prepare.encoding import Encoding
make, here = Encoding._make, Path(sys.argv[1])
def made(self, shard, bar):
    with (here / f"{shard}-{sys.argv[2]}").open("x"):  # the second to make a shard would not be alone in here
        pass
    deadline = time.monotonic() + 60
    while len({path.name[2:] for path in here.iterdir()}) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return make(self, shard, bar)
Encoding._make = made
encode_latents.main(sys.argv[3:])
"""


def test_two_processes_share_the_shards_and_come_to_the_same_end(imagenet, vae, whole, tmp_path):
    (tmp_path / "made").mkdir()
    both = [
        start(
            SIDE_BY_SIDE,
            *(str(tmp_path / "made"), str(task), *options(imagenet, vae, tmp_path)),
            SLURM_ARRAY_TASK_ID=str(task),
            SLURM_ARRAY_TASK_COUNT="2",
        )
        for task in (0, 1)
    ]
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    made = sorted(path.name.split("-") for path in (tmp_path / "made").iterdir())
    assert [shard for shard, _ in made] == ["0", "1", "2", "3", "4"]  # none twice
    assert {task for _, task in made} == {"0", "1"}
    assert sum("complete" in out for out, _ in outputs) >= 1
    folder = tmp_path / "imagenet" / "latents"
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_shards_that_another_process_makes_are_left_to_it(imagenet, vae, whole, tmp_path, capsys):
    from bench.system.locks import hold

    with hold(tmp_path / "imagenet" / "latents" / "moments-00003.lock"):
        encode(imagenet, vae, tmp_path)
        assert "4 of 5 shards made here; other processes" in capsys.readouterr().out
    folder = encode(imagenet, vae, tmp_path)
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_tasks_begin_far_from_each_other(monkeypatch):
    assert first_shard(157) == 0
    firsts = set()
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "5")
    for array in ("5", "6"):
        for task in "0123":
            monkeypatch.setenv("SLURM_ARRAY_TASK_ID", array)
            monkeypatch.setenv("SLURM_PROCID", task)
            firsts.add(first_shard(160))
    assert firsts == {0, 20, 40, 60, 80, 100, 120, 140}


def test_a_damaged_shard_can_be_made_again(imagenet, vae, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "imagenet" / "latents")
    folder = tmp_path / "imagenet" / "latents"
    os.truncate(folder / "moments-00001.npy", 200)
    with pytest.raises(BadInputError, match=r"delete moments-00001.json and manifest.json"):
        Latents.open(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(BadInputError, match=r"moments-00001.json is damaged .*truncated"):
        encode_latents.main(options(imagenet, vae, tmp_path))
    (folder / "moments-00001.json").unlink()
    encode(imagenet, vae, tmp_path)
    assert Latents.open(folder).digest == Latents.open(whole).digest


def test_latents_that_are_not_finite_are_refused(imagenet, vae, tmp_path, monkeypatch):
    moments = LatentAutoencoder.moments
    monkeypatch.setattr(LatentAutoencoder, "moments", lambda self, images: moments(self, images) * 1e6)
    with pytest.raises(BadInputError, match=r"not finite in 16 bits for 2 of 2 images, n01440764/n01440764_0.JPEG"):
        encode_latents.main(options(imagenet, vae, tmp_path))


@pytest.mark.parametrize(
    ("operation", "name", "number"),
    [
        ("mkdir", "imagenet", errno.ENODEV),
        ("write", "settings.json", errno.ESTALE),
        ("lock", "settings.lock", errno.ETIMEDOUT),
        ("lock", "moments-00002.lock", errno.EIO),
        ("write", "moments-00001.npy", errno.ENOSPC),
        ("replace", "hashes-00001.npy", errno.EBUSY),
        ("write", "moments-00001.json", errno.ENOTCONN),
        ("write", "labels.npy", errno.EHOSTDOWN),
        ("write", "manifest.json", errno.EREMOTEIO),
        ("read", "n01441764_3.JPEG", errno.ENXIO),
        ("list", "n01441764", errno.ESTALE),
    ],
)
def test_storage_that_fails_while_encoding_is_one_line_and_work_goes_on(
    operation, name, number, imagenet, vae, whole, tmp_path, capsys
):
    arguments = options(imagenet, vae, tmp_path)
    refused(lambda: run(encode_latents.main, arguments), operation, name, number, capsys, tmp_path)
    folder = encode(imagenet, vae, tmp_path)
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("settings.json", errno.ESTALE),
        ("moments-00003.json", errno.EIO),
        ("hashes-00001.npy", errno.EMFILE),
        ("manifest.json", errno.ENOTCONN),
    ],
)
def test_finished_latents_that_cannot_be_read_are_not_called_damaged(
    name, number, imagenet, vae, whole, tmp_path, capsys
):
    arguments, before = options(imagenet, vae, whole.parent.parent), contents(whole)
    refused(lambda: run(encode_latents.main, arguments), "read", name, number, capsys, whole)
    assert contents(whole) == before


def test_a_file_system_that_refuses_modes_gets_latents(imagenet, vae, whole, tmp_path, monkeypatch):
    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, no_modes)
    folder = encode(imagenet, vae, tmp_path)
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_an_unwritable_prepared_folder_is_found_out_first(imagenet, vae, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BadInputError, match=rf"^--prepared {tmp_path}/file: cannot write there"):
        encode_latents.main(options(imagenet, vae, tmp_path / "file"))


def test_a_dataset_that_is_not_whole(imagenet, vae, tmp_path):
    arguments = [o for o in options(imagenet, vae, tmp_path) if o != "--any-count"]
    with pytest.raises(BadInputError, match=r"imagenet: found 22 images, expected 1,281,167"):
        encode_latents.main(arguments)


def test_a_dataset_without_images_of_all_classes(imagenet, vae, tmp_path, capsys):
    """However many images are accepted: the networks would be sampled over classes that they never saw."""
    for more, reason in (
        (["--classes", "1000"], "imagenet: no images of 997 of 1,000 classes (labels 3, 4, 5, ...)"),
        (["--classes", "2"], "imagenet: label 2 is beyond the 2 classes"),
        (["--classes", "0"], "--classes 0: must be 1 or more"),
    ):
        assert run(encode_latents.main, options(imagenet, vae, tmp_path / "prepared", *more)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line
    published = [o for o in options(imagenet, vae, tmp_path / "prepared") if o not in ("--classes", "3")]
    assert run(encode_latents.main, published) == 2
    assert "997 of 1,000 classes" in capsys.readouterr().err
    assert not (tmp_path / "prepared").exists()


def test_a_hub_that_cannot_be_reached_is_told_in_one_line(imagenet, tmp_path, capsys, monkeypatch):
    def unreachable(*args, **kwargs):
        raise LocalEntryNotFoundError("Got: ConnectError\nAn error happened while trying to locate the files")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    assert run(encode_latents.main, options(imagenet, "someone/some-vae", tmp_path / "prepared")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--vae someone/some-vae: cannot be loaded" in line
    assert "give a folder" in line
    assert not (tmp_path / "prepared").exists()


def test_the_same_autoencoder_has_the_same_digest_wherever_it_comes_from(vae, tmp_path, cpu, monkeypatch):
    loaded = LatentAutoencoder.load(str(vae), cpu)
    loaded._vae.save_pretrained(tmp_path / "again")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: str(tmp_path / "again"))
    assert LatentAutoencoder.load("someone/some-vae", cpu).digest == loaded.digest
    assert len(loaded.digest) == 16
    others = (make_vae(tmp_path / "weights", seed=1), make_vae(tmp_path / "scaling", scaling_factor=0.5))
    digests = {LatentAutoencoder.load(str(other), cpu).digest for other in others}
    assert len(digests | {loaded.digest}) == 3


def test_damaged_autoencoders_are_refused(vae, tmp_path, cpu):
    folder = tmp_path / "vae"
    shutil.copytree(vae, folder)
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    save_file(dict(list(weights.items())[1:]), folder / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ValueError, match="do not fit"):
        LatentAutoencoder.load(str(folder), cpu)
    os.truncate(folder / "diffusion_pytorch_model.safetensors", 1000)
    with pytest.raises((OSError, ValueError)):
        LatentAutoencoder.load(str(folder), cpu)
    (folder / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ValueError, match="not an AutoencoderKL"):
        LatentAutoencoder.load(str(folder), cpu)
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(OSError, match=r"no diffusion_pytorch_model.safetensors"):
        LatentAutoencoder.load(str(folder), cpu)


def test_decoding_undoes_the_scaling_and_does_not_depend_on_the_chunks(vae, cpu):
    autoencoder = LatentAutoencoder.load(str(vae), cpu)
    z = torch.randn(5, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = PixelAutoencoder().decode(autoencoder._vae.decode(z).sample)
    images = autoencoder.decode(z * 0.18215)
    assert images.dtype == torch.uint8
    assert images.shape == (5, 3, 16, 16)
    assert (images.int() - expected.int()).abs().max() <= 1
    assert (images.int() - autoencoder.decode(z * 0.18215, batch_size=2).int()).abs().max() <= 1
    assert images.float().std() > 1
    assert (autoencoder.channels, autoencoder.downsampling, autoencoder.shift_factor) == (4, 8, 0.0)
