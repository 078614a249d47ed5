"""Training data fits the networks: its classes are those that are sampled."""

import numpy as np
import pytest

from bench import train
from bench.benchmarks.latent_files import write_latents
from bench.data.latents import Latents
from bench.data.sources import check_latents, training_source
from bench.spec.arguments import Places
from bench.spec.selection import Selection, training_run
from bench.spec.suites import get_suite
from bench.system.command_line import run
from bench.system.errors import BadInputError


@pytest.fixture
def latents(tmp_path):
    """Makes latents with these labels, of a dataset."""

    def make(labels, dataset="imagenet"):
        moments = np.zeros((len(labels), 2, 8, 32, 32), np.float16)
        found = Latents.open(write_latents(tmp_path / str(len(labels)), [moments], np.array(labels)), verify=False)
        found.manifest["dataset"] = dataset
        return found

    return make


def run_of(name, **options):
    suite = get_suite(name, **options)
    return training_run(suite, suite.contender("fpdm"), Selection())


def test_latents_have_images_of_every_class_and_no_others(latents):
    three = latents([0, 1, 2, 1])
    with pytest.raises(BadInputError, match=r"^latents of imagenet: no images of 997 of 1,000 classes .labels 3, 4, 5"):
        check_latents(three, run_of("imagenet"))
    assert check_latents(three, run_of("imagenet", classes=3)) is three
    with pytest.raises(BadInputError, match=r"^latents of imagenet: label 2 is beyond the 2 classes"):
        check_latents(three, run_of("imagenet", classes=2))
    with pytest.raises(BadInputError, match=r"^latents of imagenet: no images of 1 of 3 classes .labels 1.,"):
        check_latents(latents([0, 2]), run_of("imagenet", classes=3))


def test_latents_of_another_dataset_are_refused(latents):
    faces = latents([0, 0, 0], "celebahq")
    assert check_latents(faces, run_of("celebahq")) is faces
    with pytest.raises(BadInputError, match=r"^latents of ffhq are of the dataset celebahq, expected ffhq"):
        check_latents(faces, run_of("ffhq"))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (9, "dataset digits: label 9 is beyond the 9 classes"),
        (12, "dataset digits: no images of 2 of 12 classes (labels 10, 11)"),
        (0, "--classes 0: must be 1 or more"),
    ],
)
def test_pixels_of_other_classes_are_refused(classes, message, tmp_path, capsys):
    small = ["--size", "xs/2", "--train-steps", "1", "--models", "fpdm", "--device", "cpu"]
    assert run(train.main, [*small, "--classes", str(classes), "--results", str(tmp_path)]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error"))
    assert message in line
    assert not list(tmp_path.rglob("*.safetensors"))


def test_as_many_classes_as_there_are(tiny_run):
    with training_source(tiny_run("fpdm"), Places(), lambda verify: verify()) as source:
        assert source.draw(0, 0, 64).y.max() <= 10
