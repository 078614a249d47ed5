import pytest
import torch
from random_networks import SMALL
from random_networks import random_network as small

from models.families import FAMILIES
from models.fixed_point.unroll import Unroll
from models.zoo import create_model, model_config


def inputs(batch=3):
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 1, 8, 8, generator=rng)
    return x, torch.arange(batch) * 100, torch.arange(batch)


def test_blocks_are_the_identity_at_initialisation():
    model = create_model("dit_s_2", **SMALL)
    x = torch.randn(2, 16, 32)
    assert torch.equal(model.blocks(x, torch.randn(2, 32)), x)
    images, t, y = inputs()
    assert torch.equal(model(images, t, y), torch.zeros(3, 2, 8, 8))  # the output layer starts at zero too


@pytest.mark.parametrize("learn_sigma", [True, False])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_output_channels(family, learn_sigma):
    model = small(family.name, learn_sigma=learn_sigma)
    prediction = model.predict(*inputs(), family.counts(model_config(f"{family.name}_s_2", **SMALL), (2,))[0])
    assert prediction.value.shape == (3, 2 if learn_sigma else 1, 8, 8)


def test_implicit_layer_equals_the_equation_written_out():
    """Eq. 3 with nothing saved: both halves of the projection and the modulation computed at every iteration."""
    model = small("fpdm").eval()
    layer = model.implicit
    x_pre, condition, z = torch.randn(2, 16, 32), torch.randn(2, 32), torch.randn(2, 16, 32)
    f = layer.bind(x_pre, condition)
    for _ in range(3):
        joined = torch.cat([z, layer.injection(x_pre)], dim=-1)
        hidden = torch.nn.functional.gelu(layer.proj_fc1(joined), approximate="tanh")
        expected = layer.blocks[0](layer.proj_fc2(hidden), layer.blocks[0].modulation(condition))
        torch.testing.assert_close(f(z), expected, rtol=1e-5, atol=1e-5)
        z = expected


def test_pre_and_post_blocks_do_not_see_the_timestep():
    model = small("fpdm").eval()
    x, t, y = inputs()
    with torch.no_grad():
        _, first = model(x, t, y, iterations=0)
        _, second = model(x, t + 50, y, iterations=0)
    assert torch.equal(first.z, second.z)
    with torch.no_grad():
        _, iterated = model(x, t, y, iterations=1)
        _, later = model(x, t + 50, y, iterations=1)
    assert not torch.equal(iterated.z, later.z)


def test_iterations_compose_through_the_warm_start_and_nothing_stays_in_the_module():
    model = small("fpdm").eval()
    x, t, y = inputs()
    with torch.no_grad():
        whole, _ = model(x, t, y, iterations=5)
        _, half = model(x, t, y, iterations=2)
        rest, _ = model(x, t, y, iterations=3, init=half.z)
        again, _ = model(x, t, y, iterations=5)
    assert torch.equal(whole, again)
    torch.testing.assert_close(whole, rest, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("n", "m"), [(0, 1), (0, 3), (4, 1), (4, 3)])
def test_unrolled_gradient_equals_autograd_from_the_same_detached_state(n, m):
    model = small("fpdm").double()
    x, t, y = inputs()
    prediction, solution = model(x.double(), t, y, iterations=Unroll(n, m))
    prediction.square().mean().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    assert solution.evaluations.tolist() == [n + m] * 3
    assert solution.executed == n + m

    model.zero_grad()
    with torch.no_grad():
        _, start = model(x.double(), t, y, iterations=n)
    expected, _ = model(x.double(), t, y, iterations=m, init=start.z)  # plain autograd through m iterations
    torch.testing.assert_close(prediction, expected, rtol=0, atol=1e-12)
    expected.square().mean().backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=0, atol=1e-12)


def test_unrolled_gradient_equals_finite_differences():
    model = small("fpdm").double()
    x, t, y = inputs()
    with torch.no_grad():
        _, start = model(x.double(), t, y, iterations=2)

    def loss():  # from a start that is held fixed, as S-JFB does
        return model(x.double(), t, y, iterations=2, init=start.z)[0].square().mean()

    weight = model.implicit.proj_fc1.weight
    model(x.double(), t, y, iterations=Unroll(2, 2))[0].square().mean().backward()
    gradient = weight.grad.clone()
    for row, column in ((0, 0), (5, 40), (33, 7)):
        with torch.no_grad():
            weight[row, column] += 1e-6
            above = loss()
            weight[row, column] -= 2e-6
            below = loss()
            weight[row, column] += 1e-6
        assert gradient[row, column] == pytest.approx(float(above - below) / 2e-6, rel=1e-5, abs=1e-9)


def test_mixed_precision_gradients_reach_every_weight_of_the_implicit_layer():
    """Autocast's cache of weights made without a graph must not be used by the iterations with one."""
    model = small("fpdm")
    x, t, y = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        prediction, _ = model(x, t, y, iterations=Unroll(2, 2))
    prediction.float().square().mean().backward()
    without = [name for name, p in model.implicit.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_iterations_without_gradient_build_no_graph():
    model = small("fpdm")
    x, t, y = inputs()

    def saved_bytes(plan):
        total = 0

        def count(tensor):
            nonlocal total
            total += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(x, t, y, iterations=plan)
        return total

    assert saved_bytes(Unroll(0, 2)) == saved_bytes(Unroll(9, 2)) < saved_bytes(Unroll(0, 3))


def test_pretrained_round_trip(tmp_path):
    model = small("fpdm", n_pre=2)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(model(*inputs(), iterations=2)[0], loaded(*inputs(), iterations=2)[0])
