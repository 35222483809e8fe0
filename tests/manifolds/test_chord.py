"""The squared chord with its hand-written backward, against what autograd makes of the textbook formula."""

import math

import pytest
import torch
from manifold_cases import CURVATURES, Case

from hypersst.manifolds import Lorentz, lorentz_math
from hypersst.manifolds.chord import squared_chord


def twin(x, y, c):
    """-2/c - 2⟨x, y⟩."""
    return -2 / c - 2 * lorentz_math.inner(x, y, keepdim=True)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("shapes", [((4, 3), (4, 3)), ((4, 1, 3), (5, 3)), ((3,), (4, 3)), ((3,), (3,))])
def test_values_and_gradients_of_space_and_curvature_equal_those_of_the_textbook_formula(shapes, c):
    generator = torch.Generator().manual_seed(0)
    spaces = [torch.randn(s, dtype=torch.float64, generator=generator).div(c**0.5).requires_grad_() for s in shapes]
    curvature = torch.tensor(c, dtype=torch.float64, requires_grad=True)
    results = []
    for function in (squared_chord, twin):
        x, y = (lorentz_math.from_space(s, curvature) for s in spaces)
        q = function(x, y, curvature)
        cotangent = torch.linspace(-1, 1, q.numel(), dtype=torch.float64).reshape(q.shape) + 0.5
        results.append((q, *torch.autograd.grad(q, (*spaces, curvature), cotangent)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10 / c)


def test_the_riemannian_gradient_is_that_of_the_textbook_formula():
    """The two differ as lists of numbers, by a multiple of the normal, and agree on the manifold."""
    case = Case("lorentz", c=0.7)
    m, y = case.manifold, case.point(1)
    gradients = []
    for function in (squared_chord, twin):
        x = case.point(0).requires_grad_()
        (gradient,) = torch.autograd.grad(function(x, y, m.c).sum(), x)
        gradients.append(m.egrad2rgrad(x.detach(), gradient))
    torch.testing.assert_close(*gradients)


def test_it_maps_over_batches_and_differentiates_under_functional_transforms():
    case = Case("lorentz", c=0.7, shape=(4,))
    x, y, c = case.point(0), case.point(1), case.manifold.c

    def single(x, y):
        return squared_chord(x, y, c).squeeze()

    torch.testing.assert_close(torch.func.vmap(single)(x, y), squared_chord(x, y, c).squeeze(-1))
    leaf = x.clone().requires_grad_()
    squared_chord(leaf, y, c).sum().backward()
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(single))(x, y), leaf.grad)


def test_a_second_derivative_is_refused_not_wrong():
    case = Case("lorentz", shape=())
    x, y = case.point(0).requires_grad_(), case.point(1)
    (gradient,) = torch.autograd.grad(case.manifold.dist2(x, y), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


def test_squares_are_not_negative_where_points_almost_meet():
    m = Lorentz()
    x = m.random_normal(1000, 5, std=2.0, generator=torch.Generator().manual_seed(0)).as_subclass(torch.Tensor)
    y = m.projx(x * (1 + 1e-7))
    assert (m.sqdist(x, y) >= 0).all()
    assert (m.sqdist(x, x) == 0).all()


@pytest.mark.parametrize("radius", [1.0, 3.0, 5.0, 7.0])
def test_the_riemannian_gradient_of_a_distance_is_right_far_out(radius):
    """In the metric, where the part along the ray counts cosh(radius) more than as a number."""
    single, double = Lorentz(), Lorentz().double()
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(500, 8, generator=generator)
    direction = direction / direction.norm(dim=-1, keepdim=True)
    x = single.expmap0_space(radius * direction)
    # Pairs on one ray and pairs in all directions.
    other = torch.where(torch.arange(500).unsqueeze(1) % 2 == 0, 0.8 * direction, direction.roll(1, 0))
    y = single.expmap0_space(radius * other)

    def gradient(manifold, x, y):
        x = manifold.from_space(x[:, 1:]).detach().requires_grad_()
        y = manifold.from_space(y[:, 1:]).detach().requires_grad_()
        found = torch.autograd.grad(manifold.dist(x, y).sum(), (x, y))
        return [manifold.egrad2rgrad(p.detach(), g) for p, g in zip((x, y), found, strict=True)]

    for p, found, truth in zip((x, y), gradient(single, x, y), gradient(double, x.double(), y.double()), strict=True):
        point = double.from_space(p[:, 1:].double())
        error = double.inner(point, found.double() - truth).sqrt().max()
        # The gradient of a distance has length one.
        assert error < 8 * torch.finfo(torch.float32).eps * math.cosh(radius)
