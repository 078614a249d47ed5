"""A cached DiT equals a DiT where all its blocks run, a loop a stack with tied weights, a mix of reuse its ends."""

import pytest
import torch
from random_networks import SMALL as SIZE
from random_networks import random_network as small_network

from models.diffusion.samplers import SAMPLERS
from models.diffusion.sampling import Guidance, SampleNoise, sample
from models.diffusion.schedule import linear_schedule
from models.diffusion.timesteps import make_schedule, select_timesteps
from models.families import CACHED_DIT
from models.fixed_point.solvers import FixedCount
from models.fixed_point.unroll import Unroll
from models.networks.blocks import BlockStack
from models.zoo import model_config

SMALL = SIZE | {"depth": 6}
INPUTS = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(3) * 100, torch.arange(3)


def random_network(kind, **overrides):
    """A small network of depth 6, for sampling."""
    return small_network(kind, **{"depth": 6} | overrides).eval()


def sampled(model, counts, sampler="ddpm", **options):
    """Samples of two images over steps with these counts."""
    schedule = make_schedule(select_timesteps(len(counts)), counts)
    noise = SampleNoise(0, range(2), (1, 8, 8))
    return sample(model, linear_schedule(), schedule, torch.tensor([1, 2]), noise, sampler=sampler, **options).x


def cached(dit, j):
    """A cached DiT with a DiT's weights, and its configuration."""
    model = random_network("dit_cached", n_pre=j, n_post=j)
    model.load_state_dict(dit.state_dict())
    return model, model_config("dit_cached_s_2", **SMALL, n_pre=j, n_post=j)


@pytest.mark.parametrize("guidance", [None, Guidance(2.0, 1, 10)])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("period", "j"), [(1, 0), (1, 1), (1, 2), (2, 3), (5, 3)])
def test_a_cached_dit_whose_blocks_all_run_is_a_dit(period, j, sampler, guidance):
    """At period 1, and where the first and last blocks are all blocks: to the bit."""
    dit = random_network("dit")
    model, config = cached(dit, j)
    counts = CACHED_DIT.counts(config, (period,) * 7)
    expected = sampled(dit, (1,) * 7, sampler, guidance=guidance)
    assert torch.equal(sampled(model, counts, sampler, guidance=guidance), expected)


def test_a_cached_step_adds_the_residual_of_the_last_full_step():
    """Written out with the DiT's own blocks; other inputs at the cached step."""
    dit = random_network("dit")
    model, _ = cached(dit, 2)
    x, t, y = INPUTS
    with torch.no_grad():
        full = model.predict(x, t, y, 6)
        assert torch.equal(full.value, dit(x, t, y))
        cheap = model.predict(x + 0.1, t + 9, y, 4, full.state)
        condition, later = (dit.t_embedder(time) + dit.y_embedder(y) for time in (t, t + 9))
        inner = dit.blocks(dit.to_tokens(x), condition, slice(2))
        residual = dit.blocks(inner, condition, slice(2, 4)) - inner
        tokens = dit.blocks(dit.to_tokens(x + 0.1), later, slice(2)) + residual
        expected = dit.to_image(dit.blocks(tokens, later, slice(4, None)), later)
    assert torch.equal(cheap.value, expected)
    assert cheap.state is full.state
    assert not torch.allclose(cheap.value, dit(x + 0.1, t + 9, y), atol=1e-3)


def test_every_third_step_is_full():
    config = model_config("dit_cached_s_2", **SMALL, n_pre=1, n_post=1)
    assert CACHED_DIT.counts(config, (3,) * 8) == (6, 2, 2, 6, 2, 2, 6, 2)


def test_impossible_cached_steps_are_refused():
    model, x = random_network("dit_cached"), INPUTS
    with pytest.raises(ValueError, match="start with a full step"):
        model.predict(*x, 2)
    with pytest.raises(ValueError, match="6 or 2 blocks, not 3"):
        model.predict(*x, 3)
    with pytest.raises(ValueError, match="a DiT of 6 blocks has no such parts"):
        random_network("dit_cached", n_pre=4, n_post=3)


@pytest.mark.parametrize("loop_blocks", [1, 2])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_loop_equals_a_stack_with_tied_weights(k, loop_blocks):
    model = random_network("looped", loop_blocks=loop_blocks)
    stack = BlockStack(0, 32, 2)
    stack.extend([*model.loop.blocks] * k)
    x, t, y = INPUTS
    with torch.no_grad():
        label = model.y_embedder(y)
        tokens = stack(model.pre(model.to_tokens(x), label), label + model.t_embedder(t))
        expected = model.to_image(model.post(tokens, label), label)
        torch.testing.assert_close(model.predict(x, t, y, k).value, expected, rtol=0, atol=1e-6)


def gradients(model, unroll):
    model.zero_grad()
    model.predict(*INPUTS, unroll).value.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_gradients_of_a_loop_are_those_of_the_whole_loop_where_all_iterations_have_one():
    model = random_network("looped")
    whole, unrolled = gradients(model, FixedCount(3)), gradients(model, Unroll(0, 3))
    for name, gradient in whole.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(unrolled[name], gradient)


def test_iterations_without_a_graph_pass_the_gradient_on_to_what_is_before_the_loop():
    """As if they were the identity: the embedding gets d loss / d z_n, which the hook sees."""
    model, x_pre, started = random_network("looped"), [], []

    def keep(kept, tensor):
        if tensor.requires_grad:
            tensor.retain_grad()
            kept.append(tensor)

    model.pre.register_forward_hook(lambda module, inputs, output: keep(x_pre, output))
    model.loop.blocks[0].register_forward_pre_hook(lambda module, inputs: keep(started, inputs[0]))
    found = gradients(model, Unroll(2, 1))
    assert found["x_embedder.proj.weight"].abs().max() > 0
    before, after = x_pre[0], started[-1]
    assert not torch.allclose(before, after, atol=1e-3)  # two iterations lie between them
    torch.testing.assert_close(before.grad, after.grad)


def test_a_loop_cannot_reuse_a_state():
    with pytest.raises(ValueError, match="x_t enters only where its loop starts"):
        random_network("looped").predict(*INPUTS, 2, torch.zeros(3, 16, 32))


@pytest.mark.parametrize(("mix", "reuse"), [(1.0, True), (0.0, False)])
def test_the_ends_of_a_mix_are_reuse_and_no_reuse(mix, reuse):
    fpdm, mixed = random_network("fpdm"), random_network("fpdm", reuse_mix=mix)
    assert torch.equal(sampled(mixed, (2,) * 6), sampled(fpdm, (2,) * 6, reuse=reuse))


def test_a_mix_starts_between_the_last_solution_and_the_input():
    mixed, plain = random_network("fpdm", reuse_mix=0.25), random_network("fpdm")
    x, t, y = INPUTS
    init = torch.randn(3, 16, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        x_pre = plain.pre(plain.to_tokens(x), plain.y_embedder(y))
        expected, _ = plain(x, t, y, iterations=2, init=0.25 * init + 0.75 * x_pre)
        found, _ = mixed(x, t, y, iterations=2, init=init)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(found, plain(x, t, y, iterations=2, init=init)[0], atol=1e-4)


def test_two_blocks_in_the_implicit_layer_are_the_equation_with_both():
    model = random_network("fpdm", loop_blocks=2)
    layer, (x_pre, z) = model.implicit, torch.randn(2, 2, 16, 32)
    condition = torch.randn(2, 32)
    joined = torch.cat([z, layer.injection(x_pre)], dim=-1)
    expected = layer.proj_fc2(torch.nn.functional.gelu(layer.proj_fc1(joined), approximate="tanh"))
    for block in layer.blocks:
        expected = block(expected, block.modulation(condition))
    torch.testing.assert_close(layer.bind(x_pre, condition)(z), expected, rtol=1e-5, atol=1e-5)
