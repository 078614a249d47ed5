"""Training of feature extractors, and the ones that the repository ships."""

import json
from dataclasses import replace

import pytest

from bench.data import fashion
from bench.data.pixels import load_held_out
from bench.prepare import train_extractor
from bench.quality.classifier import load_classifier, weights_digest, weights_path
from bench.system.errors import BadInputError


@pytest.mark.parametrize(("name", "accuracy"), [("digits-cnn", 0.97), ("fashion-cnn", 0.92)])
def test_shipped_extractors_recognise_images_that_they_were_not_trained_on(name, accuracy):
    recipe = train_extractor.RECIPES[name]
    if recipe.dataset == "fashion" and not any(folder.is_dir() for folder in fashion.USUAL):
        pytest.skip("there is no Fashion-MNIST")
    held_out = load_held_out(recipe.dataset)
    model = load_classifier(weights_path(name))
    found = train_extractor.accuracy(model, held_out)
    assert found > accuracy
    report = json.loads(weights_path(name).with_suffix(".json").read_text())
    assert (report["held_out"], report["accuracy"]) == (len(held_out.labels), pytest.approx(found, abs=2e-3))


def test_an_extractor_is_trained_by_its_script(tmp_path, monkeypatch, capsys):
    recipe = replace(train_extractor.RECIPES["digits-cnn"], epochs=3)
    monkeypatch.setitem(train_extractor.RECIPES, "digits-cnn", recipe)
    monkeypatch.setattr(train_extractor, "weights_path", lambda name: tmp_path / f"{name}.safetensors")
    assert train_extractor.main(["digits-cnn"]) == 0
    assert load_classifier(tmp_path / "digits-cnn.safetensors").hidden.out_features == 64
    report = json.loads((tmp_path / "digits-cnn.json").read_text())
    assert report["epochs"] == 3
    assert 0.5 < report["accuracy"] < 1
    printed = capsys.readouterr().out
    assert f"{report['accuracy']:.2%} on 380 held-out images" in printed
    digest = weights_digest((tmp_path / "digits-cnn.safetensors").read_bytes())
    assert f'set digest="{digest}" for digits-cnn in bench/spec/extractors.py (was "61f49f2317c3d963")' in printed
    with pytest.raises(BadInputError, match="no recipe for extractor 'cnn': choose one of digits-cnn, fashion-cnn"):
        train_extractor.main(["cnn"])
