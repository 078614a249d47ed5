"""The benchmark against public code, with a small checkout that looks like the official DiT's."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from random_networks import SMALL, random_network

from bench.benchmarks.__main__ import main as bench
from bench.benchmarks.public_code import peers
from bench.benchmarks.public_code.peer_table import AIMS, table
from bench.system.command_line import run
from bench.system.errors import BadInputError
from models.config import ModelConfig
from models.fixed_point.unroll import Unroll

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[3]
ONE = "gradient.t_embedder.mlp.0.bias"
DIFFUSION = """
class Diffusion:
    def training_losses(self, model, x, t, model_kwargs):
        return {"loss": model(x, t, **model_kwargs).square().mean(dim=(1, 2, 3))}

def create_diffusion(timestep_respacing, **schedule):
    print("public code may print")
    assert schedule == SCHEDULE
    return Diffusion()

SCHEDULE = {}
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of its own commit; nothing is compiled, and one round is enough."""
    monkeypatch.setattr(peers, "why_not_compile", lambda device: "no compiler")
    monkeypatch.setattr(peers, "LEAST_S", 0.001)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)  # a process of the public code for each number
    folder = tmp_path / "checkout"
    (folder / "diffusion").mkdir(parents=True)
    (folder / "diffusion" / "__init__.py").write_text(DIFFUSION)
    (folder / "models.py").write_text((HERE / "checkout_like.py").read_text())
    identity = ["-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


@pytest.fixture
def released(checkout):
    """The checkout, of the released FPDM instead."""
    shutil.copy(HERE / "checkout_like.py", checkout)
    shutil.copy(HERE / "released_like.py", checkout / "models.py")
    schedule = "SCHEDULE = {'predict_v': True, 'use_zero_terminal_snr': True}"
    (checkout / "diffusion" / "__init__.py").write_text(DIFFUSION + schedule)
    return checkout


def against(checkout, results, option="--official-dit"):
    return bench([option, str(checkout), "--sizes", "tiny", "--rounds", "2", "--results", str(results)])


def test_the_released_code_iterates_as_often_as_ours(released, tmp_path):
    """Its predictions and gradients would differ if not."""
    assert against(released, tmp_path, "--released-fpdm") == 0
    found = json.loads((tmp_path / "performance" / "peers.json").read_text())
    entries = [entry for entry in found["measured"] if entry["network"] == "fpdm"]
    assert [set(entry["seconds"]) for entry in entries] == [{"public", "eager"}] * 2
    assert all(0 < max(entry["apart"]["eager"].values()) <= 1e-5 for entry in entries)
    assert found["changed"] == {"fpdm": ["diffusion/__init__.py", "models.py", "checkout_like.py"]}
    assert "no checkout: give --official-dit" in (tmp_path / "performance" / "peers.md").read_text()


def test_both_sides_are_timed_in_the_same_rounds(checkout, tmp_path, capsys):
    assert against(checkout, tmp_path / "results") == 0
    found = json.loads((tmp_path / "results" / "performance" / "peers.json").read_text())
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert (found["commits"], found["changed"]) == ({"dit": head.stdout.strip()}, {"dit": []})
    assert found["environment"]["hardware"]
    for entry in found["measured"]:
        sides = {"eager"} | ({"public", "products"} if entry["network"] == "dit" else set())
        assert set(entry["seconds"]) == sides
        assert all(len(series) == 2 and min(series) > 0 for series in entry["seconds"].values())
        if entry["network"] == "dit":
            assert {*entry["apart"]["eager"]} == {"predictions", "gradients"}
            assert 0 < max(entry["apart"]["eager"].values()) <= 1e-5
    assert {(e["network"], e["part"]) for e in found["measured"]} == set(AIMS)
    text = (tmp_path / "results" / "performance" / "peers.md").read_text()
    assert text in capsys.readouterr().out
    assert "no checkout: give --released-fpdm" in text


def test_ratios_are_taken_within_rounds():
    seconds = {"public": [0.2, 0.8, 0.3], "eager": [0.1, 0.2, 0.1], "products": [0.05, 0.1, 0.05]}
    entry = {"network": "dit", "size": "digits", "batch": 128, "threads": 1, "part": "forward", "seconds": seconds}
    (row,) = table([entry]).to_dict("records")
    assert row["public / ours, eager"] == "3.00 (2.00 to 4.00)"
    assert row["public / ours, compiled"] == "no compiler"
    assert (row["aim"], row["reached"]) == ("1.50", "yes")
    assert row["ours eager / products"] == "2.00 (2.00 to 2.00)"
    seconds["compiled"] = [0.2, 0.4, 0.4]  # slower: the aim is still reached
    (row,) = table([entry]).to_dict("records")
    assert row["public / ours, compiled"] == "1.00 (0.75 to 2.00)"
    assert (row["reached"], row["ours compiled / products"]) == ("yes", "4.00 (4.00 to 8.00)")


def test_the_kept_table_shows_the_kept_seconds():
    kept = ROOT / "results" / "performance"
    found = json.loads((kept / "peers.json").read_text())
    text = table(found["measured"]).to_markdown(index=False, disable_numparse=True)
    assert (kept / "peers.md").read_text().split("\n\n")[0] == text


def test_code_that_predicts_otherwise_is_refused(checkout, tmp_path, capsys):
    models = checkout / "models.py"
    models.write_text(models.read_text().replace("SCALE = 1.0", "SCALE = 1.001"))
    arguments = ["--official-dit", str(checkout), "--sizes", "tiny", "--results", str(tmp_path / "results")]
    assert run(bench, arguments) == 2
    expected = "error: DiT tiny, eager: predictions are 1.0e-03 from the public code's, over 1e-05\n"
    assert capsys.readouterr().err == expected
    assert not (tmp_path / "results").exists()


@pytest.fixture
def compared():
    """A network, and what the public code would say of it: their results are our own."""
    network, config = random_network("fpdm"), ModelConfig("fpdm", **SMALL, n_pre=1, n_post=1)
    x, t, y = torch.randn(4, config.in_channels, *[config.input_size] * 2), torch.arange(4), torch.arange(4)
    with torch.no_grad():
        prediction = network.predict(x, t, y, peers.FORWARD).value
    theirs = {"x": x, "t": t, "y": y, "prediction": prediction, "probe": torch.randn_like(prediction)}
    (network.predict(x, t, y, Unroll(*peers.UNROLL)).value * theirs["probe"]).mean().backward()
    theirs |= {f"weight.{name}": tensor.clone() for name, tensor in network.state_dict().items()}
    theirs |= {f"gradient.{name}": p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    return network, config, theirs


def test_differences_are_relative_to_the_largest_value(compared):
    network, config, theirs = compared
    assert peers._compare(network, config, theirs, "here") == {"predictions": 0, "gradients": 0}
    theirs["gradient.t_embedder.mlp.0.bias"] *= 1 + 1e-6
    assert peers._compare(network, config, theirs, "here")["gradients"] == pytest.approx(1e-6, rel=0.2)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda network, theirs: theirs.update({ONE: theirs[ONE] * 1.001}), r"1\.0e-03"),
        (lambda network, theirs: theirs.update({ONE: theirs[ONE] * float("nan")}), "nan"),
        (lambda network, theirs: theirs.pop(ONE), r"\S+e\+\d+"),
        (lambda network, theirs: network.t_embedder.mlp[0].bias.requires_grad_(False), r"1\.0e\+00"),
    ],
    ids=["differs", "is no number", "only ours", "only theirs"],
)
def test_a_gradient_that_is_not_the_same_is_refused(compared, change, what):
    network, config, theirs = compared
    change(network, theirs)
    with pytest.raises(BadInputError, match=f"^here: gradients are {what} from the public code's, over 1e-05$"):
        peers._compare(network, config, theirs, "here")


def test_changed_modules_are_named(checkout):
    commit, _ = peers._checkout("dit", checkout)
    (checkout / "models.py").write_text("")
    (checkout / "diffusion" / "new one.py").write_text("")
    (checkout / "picture.png").write_text("")
    assert peers._checkout("dit", checkout) == (commit, ["models.py", '"diffusion/new one.py"'])


def test_an_outer_repository_s_commit_is_not_the_code_s(checkout):
    inner = checkout / "inner"
    inner.mkdir()
    for name in ("diffusion", "models.py"):
        (checkout / name).rename(inner / name)
    assert peers._checkout("dit", inner) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--released-fpdm", "."],
            "--released-fpdm .: no models.py and diffusion/ in it; give a checkout of lukemelas/",
        ),
        (["--released-fpdm", "checkout"], "--released-fpdm checkout: the code of another model; give a checkout of lu"),
        (
            ["--official-dit", "released"],
            "--official-dit released: the code of another model; give a checkout of facebo",
        ),
        (["--official-dit", "checkout", "--sizes", "xl_2"], "--sizes xl_2: unknown; choose from digits, s_2, tiny"),
        (["--official-dit", "checkout", "--rounds", "0"], "--rounds 0: must be 1 or more"),
        (["--official-dit", "checkout", "--device", "cuda"], "--device cuda: public code is timed on a CPU"),
        (["--official-dit", "checkout", "--only", "fp32"], "--only fp32: not against public code"),
        (["--official-dit", "checkout", "--results", "file"], "--results file: cannot write there"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_timed(checkout, monkeypatch, capsys, arguments, complaint):
    monkeypatch.chdir(checkout.parent)
    shutil.copytree("checkout", "released")
    Path("released", "models.py").write_text("fixed_point")
    Path("file").write_text("")
    monkeypatch.setattr(peers, "_measure", None)
    assert run(bench, arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {complaint}")
    assert line.count("\n") == 1
    assert not Path("results").exists()
