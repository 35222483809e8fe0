"""Maps between models and curvatures keep distance and direction from the origin."""

from __future__ import annotations

import math

import geoopt
import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare, poincare_to_lorentz
from hypersst.nn import ManifoldMap


def by_hand(source: str, target: str, x: list[float], c: float, c_out: float) -> list[float]:
    """Radius and direction in, radius and direction out."""
    space = x[1:] if source == "lorentz" else x
    length = math.hypot(*space)
    radius = math.asinh(math.sqrt(c) * length) if source == "lorentz" else 2 * math.atanh(math.sqrt(c) * length)
    angle = math.sqrt(c_out) * radius / math.sqrt(c)
    scale = math.sinh(angle) if target == "lorentz" else math.tanh(angle / 2)
    image = [scale / math.sqrt(c_out) * a / length for a in space]
    return [math.cosh(angle) / math.sqrt(c_out), *image] if target == "lorentz" else image


@pytest.mark.parametrize("c_out", CURVATURES)
@pytest.mark.parametrize("target", MANIFOLDS)
@pytest.mark.parametrize("source", MANIFOLDS)
def test_distance_and_direction_from_the_origin_are_kept(source, target, c_out):
    carry = ManifoldMap(MANIFOLDS[source](0.75), MANIFOLDS[target](c_out)).double()
    x = points(carry.source, 6, 3, radius=2.0)
    expected = [by_hand(source, target, row, 0.75, c_out) for row in x.tolist()]
    torch.testing.assert_close(carry(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(carry.target.dist0(carry(x)), carry.source.dist0(x))
    torch.testing.assert_close(ManifoldMap(carry.target, carry.source)(carry(x)), x)


@pytest.mark.parametrize("c", CURVATURES)
def test_with_equal_curvature_it_is_the_isometry(c):
    lorentz, ball = Lorentz(c).double(), PoincareBall(c).double()
    x = points(lorentz, 6, 3, radius=3.0)
    y = ManifoldMap(lorentz, ball)(x)
    torch.testing.assert_close(y, lorentz_to_poincare(x, c))
    torch.testing.assert_close(ManifoldMap(ball, lorentz)(y), poincare_to_lorentz(y, c))
    torch.testing.assert_close(ball.dist(y[:1], y), lorentz.dist(x[:1], x))
    torch.testing.assert_close(ManifoldMap(ball, ball)(y), y)


def test_distances_between_points_change_with_the_curvature():
    # Otherwise the docstring would promise too little.
    carry = ManifoldMap(Lorentz(1.0), Lorentz(0.25)).double()
    x = points(carry.source, 6, 3, radius=2.0)
    before, after = carry.source.dist(x[1:], x[:-1]), carry.target.dist(carry(x[1:]), carry(x[:-1]))
    assert (after < 0.99 * before).all()


def test_points_beyond_the_largest_radius_stop_there():
    carry = ManifoldMap(Lorentz(1.0), PoincareBall(4.0))
    y = carry(points(carry.source, 6, 3, radius=6.0, dtype=torch.float32))
    torch.testing.assert_close(carry.target.dist0(y), torch.full((6,), 3.5), rtol=1e-4, atol=0)


@pytest.mark.parametrize("target", MANIFOLDS)
@pytest.mark.parametrize("source", MANIFOLDS)
def test_gradients_at_the_origin_are_those_of_a_scaling(source, target):
    carry = ManifoldMap(MANIFOLDS[source](0.75), MANIFOLDS[target](2.0, learnable=True)).double()
    x = carry.source.origin(4).as_subclass(torch.Tensor).double().requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda z: carry(z)[..., -3:], x)[:, -3:]
    scale = {"ball": 2.0, "lorentz": 1.0}[source] / {"ball": 2.0, "lorentz": 1.0}[target]
    torch.testing.assert_close(jacobian, scale * torch.eye(3, dtype=torch.float64))
    carry(x).sum().backward()
    assert carry.target.log_c.grad.isfinite()


def test_geoopts_manifolds_are_taken_and_others_refused():
    carry = ManifoldMap(geoopt.Lorentz(2.0), geoopt.PoincareBall(0.5))
    assert isinstance(carry.source, Lorentz)
    assert float(carry.source.c) == pytest.approx(0.5) == pytest.approx(float(carry.target.c))
    with pytest.raises(TypeError, match="`manifold` must be"):
        ManifoldMap(Lorentz(), geoopt.Sphere())
