"""The Fréchet mean: it is the minimiser, and its gradient is that of the minimiser."""

from __future__ import annotations

import mpmath
import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points
from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.manifolds.lorentz_math import logmap, to_rest_frame
from hypersst.nn import FrechetMean, frechet_mean
from hypersst.nn.frechet_mean import _conjugate_gradients, _system
from hypersst.nn.groups import Groups
from hypersst.nn.hyperboloid import to_hyperboloid

both_models = pytest.mark.parametrize("name", MANIFOLDS)


def spreads(manifold, radius: float) -> dict[str, Tensor]:
    """Sets of eight points in three dimensions that make the centroid a bad start, by name."""
    far, near = points(manifold, 50, 8, 3, radius=radius), points(manifold, 50, 8, 3, radius=0.1, seed=1)
    ray = points(manifold, 50, 1, 3, radius=radius)
    return {
        "even": far,
        "outlier": torch.cat((far[:, :1], near[:, 1:]), dim=1),
        "halves": torch.cat((far[:, :4], near[:, 4:]), dim=1),
        "two heaps": torch.cat((ray.expand(-1, 5, -1), far[:, :3]), dim=1),
    }


def residual(mean: Tensor, x: Tensor, weight: Tensor, manifold) -> Tensor:
    """Largest length of the weighted mean of the logarithms at the mean, in the metric there."""
    at, c = to_hyperboloid(mean, manifold).unsqueeze(-2), manifold.c.double()
    logs = to_rest_frame(at, logmap(at, to_hyperboloid(x, manifold), c), c)
    share = (weight / weight.sum(-1, keepdim=True)).unsqueeze(-1)
    return (share * logs).sum(-2).norm(dim=-1).max()


def lou_of_2020(x: list[list], weight: list, c, steps: int) -> list:
    """Majorise and minimise, from the sum of the points: Lou et al., in mpmath."""
    root = mpmath.sqrt(c)

    def product(u, v):
        return sum(a * b for a, b in zip(u[1:], v[1:], strict=True)) - u[0] * v[0]

    def normalized(s):
        length = root * mpmath.sqrt(-product(s, s))
        return [a / length for a in s]

    def step(factors):
        return normalized([sum(f * row[k] for f, row in zip(factors, x, strict=True)) for k in range(len(x[0]))])

    mean = step(weight)
    for _ in range(steps):
        t = [mpmath.acosh(-c * product(mean, row)) for row in x]
        mean = step([w * a / mpmath.sinh(a) for w, a in zip(weight, t, strict=True)])
    return mean


@pytest.mark.parametrize(("radius", "steps", "bound"), [(1.0, 60, 1e-12), (7.0, 400, 1e-10)])
@pytest.mark.parametrize("c", CURVATURES)
def test_the_mean_is_where_the_papers_iteration_ends(c, radius, steps, bound):
    manifold = Lorentz(c).double()
    weight = torch.tensor([0.5, 1.0, 2.0, 1.5], dtype=torch.float64)
    x = points(manifold, 4, 2, radius=radius)
    with mpmath.workdps(30):
        rows = [[mpmath.mpf(a) for a in row] for row in x[:, 1:].tolist()]
        rows = [[mpmath.sqrt(1 / mpmath.mpf(c) + sum(a * a for a in row)), *row] for row in rows]
        expected = [float(a) for a in lou_of_2020(rows, weight.tolist(), mpmath.mpf(c), steps)]
    torch.testing.assert_close(
        frechet_mean(x, weight, manifold=manifold), torch.tensor(expected, dtype=torch.float64), rtol=bound, atol=bound
    )


# What the logarithms are known to in float64 is 1e-16 cosh²(radius); the ball stores a point at radius 7 that well.
@pytest.mark.parametrize(("radius", "bound"), [(1e-3, 1e-15), (1.0, 1e-14), (7.0, 1e-10), (14.0, 1e-7)])
@both_models
def test_logarithms_at_the_mean_cancel(name, radius, bound):
    manifold = MANIFOLDS[name](0.5).double()
    for weight in (torch.ones(8), torch.rand(8) ** 6):
        for x in spreads(manifold, radius).values():
            mean = frechet_mean(x, weight.double(), manifold=manifold)
            if name == "ball" and radius > 7.0:
                continue  # the mean itself is rounded on the way back
            assert float(residual(mean, x, weight.double(), manifold)) < bound


def test_six_iterations_suffice_at_radius_7_and_four_at_3():
    for radius, iterations in ((7.0, 6), (3.0, 4)):
        manifold = Lorentz().double()
        for x in spreads(manifold, radius).values():
            mean = frechet_mean(x, manifold=manifold, max_iterations=iterations)
            assert float(residual(mean, x, torch.ones(8), manifold)) < 1e-10


@both_models
def test_no_point_nearby_is_better(name):
    mean = FrechetMean(manifold=MANIFOLDS[name](0.5)).double()
    manifold = mean.manifold
    x, weight = points(manifold, 20, 5, 3, radius=3.0), torch.rand(20, 5, dtype=torch.float64)

    def cost(y):
        return (weight * manifold.dist(y.unsqueeze(-2), x).square()).sum(-1)

    y = mean(x, weight)
    for seed in range(5):
        other = manifold.expmap(y, manifold.proju(y, 1e-3 * torch.randn_like(y)))
        assert (cost(other) > cost(y)).all(), seed


@both_models
def test_the_mean_of_two_points_divides_their_geodesic_by_the_weights(name):
    manifold = MANIFOLDS[name](0.5).double()
    x, y = points(manifold, 5, 3, radius=4.0), points(manifold, 5, 3, radius=2.0, seed=1)
    mean = frechet_mean(torch.stack((x, y), dim=1), torch.tensor([3.0, 1.0]), manifold=manifold)
    torch.testing.assert_close(manifold.dist(x, mean), 0.25 * manifold.dist(x, y))
    torch.testing.assert_close(manifold.dist(y, mean), 0.75 * manifold.dist(x, y))


def unrolled(x: Tensor, weight: Tensor, c: Tensor, steps: int) -> Tensor:
    """The paper's iteration, recorded from end to end, on the space parts of points."""
    x = torch.cat(((1 / c + x.square().sum(-1, keepdim=True)).sqrt(), x), dim=-1)
    sign = torch.ones(x.size(-1), dtype=x.dtype)
    sign[0] = -1.0

    def normalized(s):
        return s / (-c * (sign * s * s).sum(-1, keepdim=True)).sqrt()

    mean = normalized((weight.unsqueeze(-1) * x).sum(-2))
    for _ in range(steps):
        t = (-c * (sign * x * mean.unsqueeze(-2)).sum(-1)).acosh()
        mean = normalized(((weight * t / t.sinh()).unsqueeze(-1) * x).sum(-2))
    return mean


def test_gradients_are_those_of_the_whole_iteration():
    manifold = Lorentz(0.5, learnable=True).double()
    space = points(manifold, 6, 4, 3, radius=1.5)[..., 1:].detach().requires_grad_()
    weight = torch.rand(6, 4, dtype=torch.float64).add(0.2).requires_grad_()
    direction = torch.randn(6, 4, dtype=torch.float64)
    wrt = (space, weight, manifold.log_c)
    slow = unrolled(space, weight, manifold.c, 150)
    expected = torch.autograd.grad((direction * slow).sum(), wrt)
    fast = frechet_mean(manifold.from_space(space), weight, manifold=manifold)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(torch.autograd.grad((direction * fast).sum(), wrt), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("radius", [1e-4, 4.0, 7.0])
@both_models
def test_gradients_of_the_converged_mean_agree_with_finite_differences(name, radius):
    manifold = MANIFOLDS[name](0.5).double()
    # In tangent coordinates at the origin, in which the mean does not run to the border of the ball.
    v = torch.randn(3, 4, 2, dtype=torch.float64)
    v = radius * v / v.norm(dim=-1, keepdim=True) * (0.5 if name == "ball" else 1.0) / 0.5**0.5
    log0 = manifold.logmap0_space if name == "lorentz" else manifold.logmap0
    exp0 = manifold.expmap0_space if name == "lorentz" else manifold.expmap0
    weight = torch.rand(3, 4, dtype=torch.float64) + 0.2

    def run(v, weight):
        return log0(frechet_mean(exp0(v), weight, manifold=manifold))

    step = 1e-6 * max(radius, 1e-2)
    assert torch.autograd.gradcheck(run, (v.requires_grad_(), weight.requires_grad_()), eps=step, atol=1e-5)


@pytest.mark.parametrize("radius", [1e-3, 1.0, 7.0, 14.0])
def test_ten_steps_of_conjugate_gradients_solve_the_system(radius):
    manifold = Lorentz(0.5).double()
    c = manifold.c
    for x in spreads(manifold, radius).values():
        share, empty = torch.full((50, 8, 1), 1 / 8, dtype=torch.float64), torch.zeros(50, 1, dtype=torch.bool)
        mean = frechet_mean(x, manifold=manifold)
        _, (diagonal, factor, logs) = _system(mean, x, share, empty, Groups(), c)
        # H from its definition, one projection and one point at a time.
        eye, hessian = torch.eye(3, dtype=torch.float64), torch.zeros(50, 3, 3, dtype=torch.float64)
        for j in range(8):
            log = logs[:, j]
            t = c.sqrt() * log.norm(dim=-1)[:, None, None]
            unit = log / log.norm(dim=-1, keepdim=True)
            along = unit[:, :, None] * unit[:, None, :]
            hessian += (along + t / t.tanh() * (eye - along)) / 8
        b = torch.randn(50, 3, dtype=torch.float64)
        expected = torch.linalg.solve(hessian, b)
        found = _conjugate_gradients(b, diagonal, factor, logs, Groups(), 10)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_ten_steps_solve_it_in_many_dimensions_too():
    manifold = Lorentz().double()
    x = points(manifold, 4, 200, 100, radius=7.0)
    x = torch.cat((x[:, :50], x[:, :1].expand(-1, 50, -1)), dim=1)
    y = frechet_mean(x, manifold=manifold)
    assert float(residual(y, x, torch.ones(100), manifold)) < 1e-10


def test_gradients_of_single_sets_by_vmap_are_those_of_a_loop():
    manifold = Lorentz(0.5).double()
    x, weight = points(manifold, 4, 3, 2), torch.rand(4, 3, dtype=torch.float64)
    index = torch.tensor([0, 2, 0])

    def cost(x, weight):
        means = frechet_mean(x, weight, index, 3, manifold=manifold)
        return (frechet_mean(x, weight, manifold=manifold).square().sum() + means.square()).sum()

    gradient = torch.func.grad(cost)
    found = torch.func.vmap(gradient)(x, weight)
    expected = torch.stack([gradient(a, b) for a, b in zip(x, weight, strict=True)])
    torch.testing.assert_close(found, expected)


def test_a_second_derivative_is_refused():
    x = points(PoincareBall(), 4, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(frechet_mean(x, manifold=PoincareBall()).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_negative_number_of_iterations_is_refused():
    with pytest.raises(ValueError, match="`max_iterations` must not be negative, got -1"):
        FrechetMean(max_iterations=-1)
    with pytest.raises(ValueError, match="`max_iterations` must not be negative, got -1"):
        frechet_mean(torch.zeros(2, 2), manifold=PoincareBall(), max_iterations=-1)
    assert "max_iterations=8" in repr(FrechetMean())
