"""Shimizu's layer against its formula in the most naive form, and at the edges."""

from __future__ import annotations

import math

import pytest
import torch
from layer_cases import CURVATURES, make_linear, points

from hypersst.manifolds import PoincareBall
from hypersst.nn import PoincareLinear, poincare_hyperplanes


def slow_distances(weight, offset, c, x):
    """HNN++, eq. 6, one number after the other."""
    conformal = 2 / (1 - c * sum(v * v for v in x))
    result = []
    for z, r in zip(weight, offset, strict=True):
        length = math.sqrt(sum(v * v for v in z))
        along = sum(math.sqrt(c) * a * b / length for a, b in zip(x, z, strict=True))
        inside = conformal * along * math.cosh(2 * math.sqrt(c) * r)
        inside -= (conformal - 1) * math.sinh(2 * math.sqrt(c) * r)
        result.append(2 * length / math.sqrt(c) * math.asinh(inside))
    return result


@pytest.mark.parametrize("c", CURVATURES)
def test_layer_equals_its_slow_twin(c):
    layer = make_linear("poincare", 4, 3, c).double()
    x = points(layer.manifold, 5, 4)
    rows = []
    for row in x.tolist():
        v = slow_distances(layer.weight.tolist(), layer.bias.tolist(), c, row)
        w = [math.sinh(math.sqrt(c) * a) / math.sqrt(c) for a in v]
        rows.append([a / (1 + math.sqrt(1 + c * sum(b * b for b in w))) for a in w])
    torch.testing.assert_close(layer(x).detach(), torch.tensor(rows, dtype=torch.float64), rtol=1e-11, atol=1e-11)


def test_outputs_are_signed_distances_to_the_coordinate_hyperplanes():
    # What defines the layer: v_k of the input is the distance of the output from the k-th coordinate hyperplane.
    layer = make_linear("poincare", 4, 3, 0.7).double()
    x = points(layer.manifold, 5, 4)
    c = layer.manifold.c
    v = poincare_hyperplanes(x, layer.weight, layer.bias, c)
    # A unit map has half-length directions.
    again = poincare_hyperplanes(layer(x), 0.5 * torch.eye(3, dtype=torch.float64), None, c)
    torch.testing.assert_close(again, v)


def test_large_weights_and_points_near_the_border_stay_finite_in_float32():
    layer = PoincareLinear(4, 3, manifold=PoincareBall())
    with torch.no_grad():
        layer.weight.fill_(100.0)
        layer.bias.copy_(torch.tensor([200.0, -90.0, 0.0]))
    x = points(layer.manifold, 5, 4, radius=6.0, dtype=torch.float32).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert (y.norm(dim=-1) < 1).all()
    for gradient in (x.grad, layer.weight.grad, layer.bias.grad):
        assert gradient.isfinite().all()


def test_points_on_the_border_get_finite_results_and_gradients():
    layer = PoincareLinear(1, 2)
    torch.nn.init.constant_(layer.bias, 0.1)
    x = torch.ones(1, 1, requires_grad=True)
    layer(x).sum().backward()
    assert layer(x).isfinite().all()
    assert x.grad.isfinite().all()
