"""Normalisation onto the hyperboloid with its hand-written backward, against autograd."""

import pytest
import torch
from manifold_cases import CURVATURES

from hypersst.manifolds.normalized import normalize


def textbook(s, c, dim=-1):
    """The same in the plainest form, for autograd."""
    time, space = s.split((1, s.shape[dim] - 1), dim=dim)
    square = time.square() - space.square().sum(dim, keepdim=True)
    space = space / (c * square.abs()).sqrt()
    return torch.cat(((1 / c + space.square().sum(dim, keepdim=True)).sqrt(), space), dim=dim)


def vectors(shape, seed=0):
    """Half of them time-like, half space-like."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dim", [-1, 0])
@pytest.mark.parametrize("c", CURVATURES)
def test_first_and_second_derivatives_equal_those_of_the_textbook_form(c, dim):
    s = vectors((6, 6)).requires_grad_()
    curvature = torch.tensor(c, dtype=torch.float64, requires_grad=True)

    def derivatives(function):
        y = function(s, curvature, dim=dim)
        plain = torch.autograd.grad(y, (s, curvature), vectors((6, 6), 1), retain_graph=True)
        gradients = torch.autograd.grad(y, (s, curvature), vectors((6, 6), 1), create_graph=True)
        loss = gradients[0].square().sum() + gradients[1].square()
        return y, *plain, *gradients, *torch.autograd.grad(loss, (s, curvature))

    for found, expected in zip(derivatives(normalize), derivatives(textbook), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_zero_is_the_origin_with_a_gradient_that_is_finite():
    s = torch.zeros(2, 3, requires_grad=True)
    y = normalize(s, torch.tensor(4.0))
    y.sum().backward()
    torch.testing.assert_close(y.detach(), torch.tensor([[0.5, 0.0, 0.0]]).expand(2, 3))
    assert s.grad.isfinite().all()


def test_it_maps_over_batches_and_differentiates_under_functional_transforms():
    s, c = vectors((4, 3)), torch.tensor(0.7, dtype=torch.float64)

    def single(s):
        return normalize(s, c).sum()

    torch.testing.assert_close(torch.func.vmap(single)(s), normalize(s, c).sum(-1))
    leaf = s.clone().requires_grad_()
    normalize(leaf, c).sum().backward()
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(single))(s), leaf.grad)
