import json

import pytest
import torch
from random_networks import SMALL, random_network
from safetensors.torch import save_file

from models import create_model, list_models
from models.config import ModelConfig
from models.networks.dit import DiT
from models.networks.fpdm import FPDM
from models.pretrained import CONFIG, WEIGHTS, Description, load_network
from models.process import OFFICIAL_DIT
from models.zoo import model_config

INPUTS = torch.randn(2, 1, 8, 8), torch.tensor([3, 900]), torch.tensor([0, 9])


def kept(folder, kind, **description):
    network = random_network(kind).eval()
    config = model_config(f"{kind}_s_2", **SMALL)
    (folder / CONFIG).write_text(json.dumps(Description(config, **description).to_json()))
    save_file(network.state_dict(), folder / WEIGHTS)
    return network


@pytest.mark.parametrize("kind", ["dit", "fpdm", "looped", "dit_cached"])
def test_a_folder_gives_the_network_back(kind, tmp_path):
    network = kept(tmp_path, kind, process=OFFICIAL_DIT, autoencoder="some/vae", training={"steps": 3})
    loaded, description = load_network(tmp_path)
    assert type(loaded) is type(network)
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())
    config = model_config(f"{kind}_s_2", **SMALL)
    assert description == Description(config, OFFICIAL_DIT, "some/vae", {"steps": 3})


@pytest.mark.parametrize("where", [str, lambda path: path])
def test_create_model_takes_a_folder(where, tmp_path):
    network = kept(tmp_path, "dit")
    with torch.no_grad():
        torch.testing.assert_close(create_model(where(tmp_path))(*INPUTS), network(*INPUTS), rtol=0, atol=0)
    with pytest.raises(ValueError, match="has its options already: leave out depth"):
        create_model(where(tmp_path), depth=3)


@pytest.mark.parametrize(("kind", "network_class"), [("dit", DiT), ("fpdm", FPDM)])
def test_from_pretrained_of_the_class_reads_the_folder(kind, network_class, tmp_path):
    network = kept(tmp_path, kind)
    loaded = network_class.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected, found = (one.predict(*INPUTS, 3).value for one in (network, loaded))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_names_as_in_papers():
    assert model_config("DiT-XL/2") == model_config("dit_xl_2")
    assert model_config("FPDM-S/4", n_pre=2) == model_config("fpdm_s_4", n_pre=2)
    assert model_config("dit_cached-B/8") == model_config("dit_cached_b_8")
    assert list_models("fpdm_x*") == [f"fpdm_{size}_{patch}" for size in ("xs", "xl") for patch in (2, 4, 8)]


@pytest.mark.parametrize("kind", ["fpdm", "looped"])
def test_iterations_come_from_the_configuration_where_none_are_given(kind):
    network = random_network(kind, iterations=3).eval()
    with torch.no_grad():
        with pytest.warns(
            UserWarning, match=f"{type(network).__name__} runs 3 iterations: its configuration's"
        ) as found:
            prediction, solution = network(*INPUTS)
        expected, _ = network(*INPUTS, iterations=3)
    assert found[0].filename == __file__  # it names the caller
    assert solution.executed == 3
    torch.testing.assert_close(prediction, expected, rtol=0, atol=0)
    assert model_config("fpdm_s_2").iterations == 5


def test_the_default_number_of_iterations_is_not_part_of_an_identity():
    assert model_config("fpdm_s_2", iterations=7).identity() == model_config("fpdm_s_2").identity()
    with pytest.raises(ValueError, match="iterations must be 1 or more, got 0"):
        ModelConfig("fpdm", iterations=0)


def test_damaged_folders_are_named(tmp_path):
    with pytest.raises(OSError, match=r"has no config\.json"):
        load_network(tmp_path)
    kept(tmp_path, "dit")
    good = json.loads((tmp_path / CONFIG).read_text())
    for bad in ([], good | {"family": "unet"}, good | {"process": {}}):
        (tmp_path / CONFIG).write_text(json.dumps(bad))
        with pytest.raises(ValueError, match=r"config\.json does not describe a network"):
            load_network(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(good | {"depth": 5}))
    with pytest.raises(ValueError, match=r"does not fit its config\.json"):
        load_network(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(good))
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"does not fit its config\.json"):
        load_network(tmp_path)
