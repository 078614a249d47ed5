"""Networks and diffusion against tensors of the official DiT and the released FPDM."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models.diffusion.objective import variational_bound
from models.diffusion.samplers import SAMPLERS
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import make_schedule, select_timesteps
from models.released import load_released
from models.zoo import create_model

GOLDENS = Path(__file__).parent.parent / "goldens"
TOLERANCE = {"rtol": 0, "atol": 1e-5}


def load_network(kind):
    path = GOLDENS / f"{kind}.safetensors"
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
        iterations = int(file.metadata()["iterations"])
    tensors = load_file(path)
    if kind == "fpdm":
        config["n_pre"] = config.pop("fixed_point_pre_depth")
        config["n_post"] = config.pop("fixed_point_post_depth")
    weights = {name.removeprefix("weights."): t for name, t in tensors.items() if name.startswith("weights.")}
    io = {name.removeprefix("io."): t for name, t in tensors.items() if name.startswith("io.")}
    return create_model(f"{kind}_s_2", **config).eval(), weights, io, iterations


def test_dit_predicts_what_the_official_one_does():
    model, weights, io, _ = load_network("dit")
    load_released(model, weights)
    with torch.no_grad():
        torch.testing.assert_close(model(io["x"], io["t"], io["y"]), io["out"], **TOLERANCE)


@pytest.mark.parametrize("grad", [False, True])
def test_fpdm_predicts_what_the_released_one_does_cold_and_warm(grad):
    model, weights, io, iterations = load_network("fpdm")
    load_released(model, weights)
    with torch.set_grad_enabled(grad):
        cold, solution = model(io["x"], io["t"], io["y"], iterations=iterations)
        warm, warm_solution = model(io["x"], io["t"], io["y"], iterations=iterations, init=io["init"])
    torch.testing.assert_close(cold, io["out"], **TOLERANCE)
    torch.testing.assert_close(warm, io["out_warm"], **TOLERANCE)
    torch.testing.assert_close(warm_solution.z, io["solution_warm"], **TOLERANCE)
    assert solution.evaluations.tolist() == [iterations] * len(io["x"])
    assert (cold - warm).abs().max() > 1e-3  # the start matters, so the warm comparison can fail


@pytest.mark.parametrize("kind", ["dit", "fpdm"])
def test_released_weights_load_strictly(kind):
    model, weights, _, _ = load_network(kind)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    missing = {name: t for name, t in weights.items() if name != "final_layer.linear.bias"}
    with pytest.raises(ValueError, match=r"missing final_layer\.linear\.bias"):
        load_released(model, missing)
    with pytest.raises(ValueError, match="unknown surplus"):
        load_released(model, {**weights, "surplus": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"shape of final_layer\.linear\.bias"):
        load_released(model, {**weights, "final_layer.linear.bias": torch.zeros(1)})
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


@pytest.fixture(scope="module")
def diffusion():
    return load_file(GOLDENS / "diffusion.safetensors")


def test_noise_schedule_and_forward_process(diffusion):
    schedule = linear_schedule()
    torch.testing.assert_close(schedule.alphas_cumprod, diffusion["alphas_cumprod"], rtol=0, atol=1e-12)
    x_t = schedule.add_noise(diffusion["q.x0"], diffusion["q.noise"], diffusion["q.t"])
    torch.testing.assert_close(x_t, diffusion["q.x_t"], **TOLERANCE)


def test_variational_bound(diffusion):
    output = diffusion["vb.model_output"]
    bits = variational_bound(
        linear_schedule(), output[:, :2], output[:, 2:], diffusion["q.x0"], diffusion["q.x_t"], diffusion["q.t"]
    )
    torch.testing.assert_close(bits, diffusion["vb.bits_per_dim"], **TOLERANCE)


@pytest.mark.parametrize("steps", [5, 10])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_sampler_updates(diffusion, steps, sampler):
    timesteps = select_timesteps(steps)
    assert list(timesteps) == diffusion[f"S{steps}.timesteps"].tolist()
    noise_schedule, x = linear_schedule(), diffusion[f"S{steps}.x_T"]
    schedule = make_schedule(timesteps, [1] * steps)
    update = SAMPLERS[sampler].make(noise_schedule, schedule)
    for i, step in enumerate(schedule):
        output, noise = diffusion[f"S{steps}.model_outputs"][i], diffusion[f"S{steps}.noises"][i]
        x = update(x, step, lambda x, t, output=output: output, lambda noise=noise: noise)
        torch.testing.assert_close(x, diffusion[f"S{steps}.{sampler}"][i], **TOLERANCE)
