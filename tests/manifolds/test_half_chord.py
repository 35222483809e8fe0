"""The half chord of the ball with its hand-written backward, against autograd and the hyperboloid."""

import pytest
import torch
from manifold_cases import CURVATURES, Case

from hypersst.manifolds import poincare_to_lorentz
from hypersst.manifolds.chord import squared_chord
from hypersst.manifolds.half_chord import half_chord


def textbook(x, y, c):
    """The same in the plainest form, for autograd."""
    squares = [1 - c * p.square().sum(-1, keepdim=True) for p in (x, y)]
    return c.sqrt() * (x - y).norm(dim=-1, keepdim=True) / (squares[0] * squares[1]).sqrt()


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("shapes", [((4, 3), (4, 3)), ((4, 1, 3), (5, 3)), ((3,), (4, 3)), ((3,), (3,))])
def test_first_and_second_derivatives_equal_those_of_the_textbook_form(shapes, c):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(s, dtype=torch.float64, generator=generator).mul(0.5 / c**0.5).requires_grad_() for s in shapes)
    curvature = torch.tensor(c, dtype=torch.float64, requires_grad=True)

    def derivatives(function):
        z = function(x, y, curvature)
        cotangent = torch.linspace(-1, 1, z.numel(), dtype=torch.float64).reshape(z.shape) + 0.5
        gradients = torch.autograd.grad(z, (x, y, curvature), cotangent, create_graph=True)
        return z, *gradients, *torch.autograd.grad(sum(g.square().sum() for g in gradients), (x, y, curvature))

    for found, expected in zip(derivatives(half_chord), derivatives(textbook), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("c", CURVATURES)
def test_it_is_the_chord_of_the_same_points_on_the_hyperboloid(c):
    case = Case("poincare", c=c)
    x, y, c = case.point(0), case.point(1), case.manifold.c
    q = squared_chord(poincare_to_lorentz(x, c), poincare_to_lorentz(y, c), c)
    torch.testing.assert_close(half_chord(x, y, c).square(), c / 4 * q)


def test_where_points_meet_the_gradient_is_zero():
    x = torch.tensor([[0.1, 0.2], [0.0, 0.0]], requires_grad=True)
    half_chord(x, x.detach(), torch.tensor(1.0)).sum().backward()
    assert (x.grad == 0).all()


def test_points_beyond_the_border_get_finite_gradients():
    x = torch.tensor([[1.0, 0.5]], requires_grad=True)
    half_chord(x, torch.zeros(2), torch.tensor(1.0)).sum().backward()
    assert x.grad.isfinite().all()


def test_it_maps_over_batches_and_differentiates_under_functional_transforms():
    case = Case("poincare", c=0.7, shape=(4,))
    x, y, c = case.point(0), case.point(1), case.manifold.c

    def single(x, y):
        return half_chord(x, y, c).squeeze()

    torch.testing.assert_close(torch.func.vmap(single)(x, y), half_chord(x, y, c).squeeze(-1))
    leaf = x.clone().requires_grad_()
    half_chord(leaf, y, c).sum().backward()
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(single))(x, y), leaf.grad)
