import pytest
import torch

from models.fixed_point.anderson import Anderson
from models.fixed_point.broyden import Broyden
from models.fixed_point.solvers import FixedCount, Status
from models.zoo import create_model

WIDTH = 6
SOLVERS = [Anderson, Broyden]


class Affine:
    """z -> A z + b with spectral norm 0.99 and known fixed points; counts its calls."""

    def __init__(self, dtype=torch.float64):
        rng = torch.Generator().manual_seed(0)
        a = torch.randn(WIDTH, WIDTH, generator=rng, dtype=torch.float64)
        b = torch.randn(3, WIDTH, generator=rng, dtype=torch.float64)
        a *= 0.99 / torch.linalg.matrix_norm(a, 2)
        self.solution = torch.linalg.solve(torch.eye(WIDTH, dtype=torch.float64) - a, b.T).T.to(dtype)
        self.a, self.b = a.to(dtype), b.to(dtype)
        self.calls = 0

    def __call__(self, z):
        self.calls += 1
        return z @ self.a.T + self.b

    def error(self, solver):
        return (solver(self, torch.zeros_like(self.b)).z - self.solution).abs().max().item()


class Curved:
    """A contraction that is not linear, on (batch, tokens, hidden), other for each sample."""

    def __init__(self, batch=3):
        rng = torch.Generator().manual_seed(0)
        a = torch.randn(8, 8, generator=rng)
        self.a = 0.85 * a / torch.linalg.matrix_norm(a, 2)
        self.b = torch.randn(batch, 4, 8, generator=rng) * torch.tensor([0.01, 1.0, 100.0]).view(3, 1, 1)

    def only(self, i):
        one = Curved()
        one.b = self.b[i : i + 1]
        return one

    def __call__(self, z):
        return torch.tanh(z @ self.a) + 0.1 * z.mean(1, keepdim=True) + self.b


@pytest.mark.parametrize(
    ("solver", "plain_error"), [(Anderson(WIDTH + 1, WIDTH, ridge=1e-13), 2e-2), (Broyden(2 * WIDTH), 2e-3)]
)
def test_a_linear_map_is_solved_in_as_many_evaluations_as_theory_says(solver, plain_error):
    """Anderson: d + 1, as GMRES (Walker & Ni 2011); Broyden: 2 d (Gay 1979)."""
    f = Affine()
    assert f.error(solver) < 1e-11
    assert f.error(FixedCount(solver.iterations)) > plain_error


def test_the_default_ridge_costs_little_accuracy():
    f = Affine(torch.float32)
    assert f.error(Anderson(WIDTH + 1, WIDTH)) < 1e-5
    assert f.error(Anderson(2 * WIDTH)) < 1e-6  # with less memory than the dimension, too


def test_more_memory_than_dimensions_is_safe_without_a_ridge():
    assert Affine(torch.float32).error(Anderson(200, 2 * WIDTH, ridge=0.0)) < 1e-5


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("k", [1, 2, 3, 7, 12])
def test_calls_are_what_is_reported(solver, k):
    f = Affine()
    solution = solver(k)(f, torch.zeros_like(f.b))
    assert f.calls == k
    assert solution.executed == k
    assert solution.evaluations.tolist() == [k] * 3
    assert solution.residuals is None
    assert solution.status.tolist() == [Status.COMPLETED] * 3


@pytest.mark.parametrize("solver", SOLVERS)
def test_residuals_are_of_the_iterates_and_below_plain_iteration(solver):
    f, start = Curved(), torch.zeros(3, 4, 8)
    solution = solver(8, record_residuals=True)(f, start)
    before = solver(7)(f, start).z
    plain = FixedCount(8, record_residuals=True)(f, start).residuals
    assert solution.residuals.shape == (8, 3)
    assert torch.equal(solution.residuals[0], plain[0])
    last = (f(before) - before).flatten(1).norm(dim=1) / f(before).flatten(1).norm(dim=1)
    torch.testing.assert_close(solution.residuals[-1], last, rtol=1e-5, atol=1e-7)
    assert solution.residuals[-1, 0] < plain[-1, 0] / 2


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_iteration_is_one_application(solver):
    f, start = Curved(), torch.randn(3, 4, 8)
    assert torch.equal(solver(1)(f, start).z, f(start))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_sample_does_not_depend_on_its_batch(solver):
    f, start = Curved(), torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))
    together = solver(6)(f, start).z
    for i in range(3):
        alone = solver(6)(f.only(i), start[i : i + 1]).z[0]
        torch.testing.assert_close(together[i], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0])
def test_a_fixed_point_is_kept(solver, scale):
    point = scale * torch.randn(3, 4, 8)
    solution = solver(30, record_residuals=True)(lambda z: 0.5 * z + 0.5 * point, point)
    torch.testing.assert_close(solution.z, point, rtol=1e-6, atol=0)
    assert solution.status.tolist() == [Status.COMPLETED] * 3
    identity = solver(5)(lambda z: z, point)
    assert torch.equal(identity.z, point)


@pytest.mark.parametrize("solver", SOLVERS)
def test_iterating_long_after_convergence_stays_there(solver):
    f = Affine(torch.float32)
    errors = [f.error(solver(k)) for k in range(20, 60)]
    assert max(errors) < 3e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_diverged_sample_is_reported_and_leaves_the_others_alone(solver):
    f = Affine()
    f.b[1] = torch.inf
    solution = solver(2 * WIDTH, record_residuals=True)(f, torch.zeros_like(f.b))
    assert solution.status.tolist() == [Status.COMPLETED, Status.DIVERGED, Status.COMPLETED]
    torch.testing.assert_close(solution.z[::2], f.solution[::2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_half_precision_answers_are_accumulated_in_single(solver):
    f = Affine(torch.float32)
    solution = solver(12)(lambda z: f(z).bfloat16(), torch.zeros_like(f.b).bfloat16())
    assert solution.z.dtype == torch.float32
    torch.testing.assert_close(solution.z, f.solution, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_network_samples_with_it(solver):
    torch.manual_seed(0)
    model = create_model("fpdm_s_2", input_size=8, in_channels=1, hidden_size=32, num_heads=2, num_classes=4).eval()
    x, t, y = torch.randn(3, 1, 8, 8), torch.arange(3) * 100, torch.arange(3)
    with torch.inference_mode():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
        calls = []
        model.implicit.blocks[0].register_forward_hook(lambda *_: calls.append(1))
        prediction, solution = model(x, t, y, iterations=solver(5, record_residuals=True))
        assert len(calls) == 5
        assert prediction.isfinite().all()
        assert solution.z.shape == (3, 16, 32)
        exact, _ = model(x, t, y, iterations=200)
        converged, _ = model(x, t, y, iterations=solver(60))
    torch.testing.assert_close(converged, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: Anderson(0), lambda: Anderson(-1), lambda: Anderson(3, 0), lambda: Broyden(0), lambda: Broyden(-2)]
)
def test_impossible_counts_are_refused(make):
    with pytest.raises(ValueError, match="iterations"):
        make()
