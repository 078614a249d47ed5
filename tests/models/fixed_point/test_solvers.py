import pytest
import torch

from models.fixed_point.solvers import FixedCount, Status, Tolerance


class Affine:
    """z -> A z + b with spectral norm `contraction`, per sample b; counts its calls. Its fixed point is known."""

    def __init__(self, contraction, batch=3, width=5):
        rng = torch.Generator().manual_seed(0)
        a = torch.randn(width, width, generator=rng, dtype=torch.float64)
        self.a = contraction * a / torch.linalg.matrix_norm(a, 2)
        self.b = torch.randn(batch, width, generator=rng, dtype=torch.float64)
        self.calls = 0

    def __call__(self, z):
        self.calls += 1
        return z @ self.a.T + self.b

    @property
    def solution(self):
        return torch.linalg.solve(torch.eye(len(self.a), dtype=torch.float64) - self.a, self.b.T).T


def test_a_contraction_is_solved_to_its_known_point():
    f = Affine(0.5)
    solution = FixedCount(60, record_residuals=True)(f, torch.zeros_like(f.b))
    torch.testing.assert_close(solution.z, f.solution, rtol=0, atol=1e-12)
    assert f.calls == solution.executed == 60
    assert solution.evaluations.tolist() == [60] * 3
    assert solution.status.tolist() == [Status.COMPLETED] * 3
    assert solution.residuals.shape == (60, 3)
    assert (solution.residuals[20] < solution.residuals[0] * 0.5**18).all()


def test_zero_iterations_return_the_start():
    f = Affine(0.5)
    solution = FixedCount(0, record_residuals=True)(f, f.b)
    assert torch.equal(solution.z, f.b)
    assert f.calls == 0
    assert solution.residuals.shape == (0, 3)


def test_tolerance_is_reached_per_sample_and_independently_of_the_batch():
    f = Affine(0.9)
    start = f.solution + torch.tensor([[1e-9], [1e-3], [10.0]], dtype=torch.float64)
    solution = Tolerance(1e-6, 500)(f, start)
    assert solution.status.tolist() == [Status.CONVERGED] * 3
    evaluations = solution.evaluations.tolist()
    assert evaluations == sorted(evaluations)
    assert evaluations[0] == 1
    assert f.calls == solution.executed == evaluations[2]
    assert (solution.residuals[-1] <= 1e-6).all()
    b = f.b
    for i in range(3):
        f.b = b[i : i + 1]
        alone = Tolerance(1e-6, 500)(f, start[i : i + 1])
        torch.testing.assert_close(alone.z[0], solution.z[i], rtol=0, atol=1e-12)
        assert alone.evaluations[0] == solution.evaluations[i]


def test_an_exhausted_and_a_diverged_sample_are_told_apart():
    scale = torch.tensor([[1.1], [1e200]], dtype=torch.float64)
    solution = Tolerance(1e-9, 5)(lambda z: z * scale, torch.ones(2, 1, dtype=torch.float64))
    assert solution.status.tolist() == [Status.EXHAUSTED, Status.DIVERGED]
    assert solution.evaluations.tolist() == [5, 2]


@pytest.mark.parametrize("make", [lambda: FixedCount(-1), lambda: Tolerance(1e-3, 0), lambda: Tolerance(-1.0, 5)])
def test_impossible_limits_are_refused(make):
    with pytest.raises(ValueError):
        make()
