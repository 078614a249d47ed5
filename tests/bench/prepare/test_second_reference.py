"""bench/reference.py with a second extractor: statistics in its features too, from one pass over the images."""

from dataclasses import replace

import numpy as np
import pytest
from faults import refused
from test_reference import COUNT, SIZE, Toy, features_of, make_pictures

from bench.prepare import reading
from bench.quality.extractor import Extractor
from bench.quality.reference_statistics import load_statistics, statistics_path
from bench.reference import main
from bench.spec import suites
from bench.spec.extractors import DINOV2, INCEPTION
from bench.store.references import read_reference
from bench.system.command_line import run

NETWORK = "dinov2-vit-s-14"


@pytest.fixture
def extractors(cpu, tiny_suite, monkeypatch):
    """Toys for the suite's extractor and a second one; celebahq is a suite of small pictures."""
    evaluation = replace(tiny_suite.evaluation, extractor=INCEPTION, second_extractor=DINOV2)
    small = tiny_suite.changed(config={"input_size": SIZE // 8, "patch_size": 1, "num_classes": 0})
    suite = replace(small, name="celebahq", dataset="celebahq", evaluation=evaluation)
    monkeypatch.setitem(suites.SUITES, "celebahq", suite)
    own, second = Extractor(Toy(), INCEPTION, "0" * 16, 24, cpu), Extractor(Toy(), NETWORK, "1" * 16, 24, cpu)
    monkeypatch.setattr("bench.quality.extractor.make_extractor", lambda name, device, weights: own)
    monkeypatch.setattr("bench.quality.extractor.make_second", lambda name, device, weights: second)
    monkeypatch.setattr("bench.quality.features.FEATURE_BATCH", 4)
    return own, second


@pytest.fixture
def make(tmp_path, extractors):
    """The command line: make() without, make(True) with the second extractor's weights; returns its status."""
    data = make_pictures(tmp_path / "data")

    def call(second=True, prepared="prepared", results="results"):
        folders = ["--data", data, "--results", tmp_path / results, "--prepared", tmp_path / prepared]
        small = ["--shard-images", 10, "--batch-size", 7, "--workers", 0, "--device", "cpu", "--any-count"]
        weights = ["--dinov2-weights", tmp_path / "weights.pth"] if second else []
        return run(main, list(map(str, ["--suite", "celebahq", *folders, *small, *weights])))

    return call


@pytest.fixture
def made(tmp_path):
    """The identities in a results folder, and their files of statistics."""

    def found(prepared="prepared", results="results"):
        folder = tmp_path / results / "celebahq"
        known = [read_reference(folder), read_reference(folder, DINOV2)]
        return known, [statistics_path(tmp_path / prepared / "celebahq", one.identity) for one in known]

    return found


def calls(extractors):
    return [extractor._network.calls for extractor in extractors]


def test_one_pass_makes_statistics_of_both_in_files_of_their_own(make, made, extractors, tmp_path, monkeypatch, capsys):
    make(second=False, prepared="alone", results="alone")
    assert read_reference(tmp_path / "alone" / "celebahq", DINOV2) is None
    (alone,) = (tmp_path / "alone" / "celebahq").glob("reference-*.safetensors")
    read, decode = [], reading.decode_and_hash
    monkeypatch.setattr(reading, "decode_and_hash", lambda *given: read.append(1) or decode(*given))
    capsys.readouterr()
    assert make() == 0
    assert len(read) == COUNT
    (own, second), paths = made()
    assert paths[0].name == alone.name
    assert paths[0].read_bytes() == alone.read_bytes()
    assert capsys.readouterr().out.splitlines() == [
        f"reference statistics of 37 images -> {paths[0]}",
        f"reference statistics of 37 images in features of {NETWORK} -> {paths[1]}",
    ]
    assert second == replace(own, extractor=NETWORK, extractor_digest="1" * 16)
    statistics, identity = load_statistics(paths[1])
    assert identity == second
    features = features_of(tmp_path / "data", extractors[1])
    np.testing.assert_allclose(statistics.mu, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.sigma, np.cov(features, rowvar=False), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(statistics.features, features, rtol=1e-6)


def test_those_that_are_there_are_not_made_again(make, made, extractors, capsys):
    make(second=False)
    before = calls(extractors)
    assert before[1] == 0
    assert make() == 0
    assert calls(extractors) == [before[0], before[0]]
    _, paths = made()
    text = capsys.readouterr().out.splitlines()[-2:]
    assert text[0] == f"reference statistics are there already: {paths[0]}"
    assert text[1].startswith(f"reference statistics of 37 images in features of {NETWORK}")
    assert make(results="others") == 0
    assert made(results="others") == made()
    assert calls(extractors) == [before[0], before[0]]


def test_interruptions_change_no_bit_of_either(make, made, extractors):
    make(prepared="uninterrupted")
    network = extractors[1]._network
    network.calls, network.limit = 0, 5
    assert make() == 130
    network.calls, network.limit = 0, 10**9
    assert make(results="others") == 0
    assert network.calls == 3 + 3 + 2  # chunks of 4 in shards of 10, 10 and 7 images
    (_, whole), (_, resumed) = made("uninterrupted"), made(results="others")
    assert [path.read_bytes() for path in whole] == [path.read_bytes() for path in resumed]


@pytest.mark.parametrize("name", ["reference.json", "reference-dinov2.json", "{own}", "{second}"])
def test_storage_that_fails_between_the_files_costs_no_features(name, make, made, extractors, tmp_path, capsys):
    make(prepared="undisturbed", results="others")
    _, undisturbed = made("undisturbed", "others")
    before = calls(extractors)
    name = name.format(own=undisturbed[0].name, second=undisturbed[1].name)
    refused(make, "replace", name, 28, capsys, tmp_path)
    after = calls(extractors)
    assert after == [2 * count for count in before]
    assert make() == 0
    assert calls(extractors) == after
    known, paths = made()
    assert known == made("undisturbed", "others")[0]
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in undisturbed]
    assert not (tmp_path / "prepared" / "celebahq" / "reference-parts").exists()


def test_a_second_reference_of_other_weights_is_refused_before_the_work(make, extractors, capsys):
    make()
    extractors[1].digest = "2" * 16
    before = calls(extractors)
    assert make() == 2
    assert "reference-dinov2.json is of other images or features: choose another" in capsys.readouterr().err
    assert calls(extractors) == before
