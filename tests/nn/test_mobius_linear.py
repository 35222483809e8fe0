"""HGCN's linear layer against the closed form on the ball and across the isometry."""

from __future__ import annotations

import pytest
import torch
from layer_cases import CURVATURES, make_linear, points

from hypersst.nn import MobiusLinear
from hypersst.nn.dropout import dropout


def mobius_add(x, y, c):
    xy, x2, y2 = x @ y, x @ x, y @ y
    return ((1 + 2 * c * xy + c * y2) * x + (1 - c * x2) * y) / (1 + 2 * c * xy + c * c * x2 * y2)


@pytest.mark.parametrize("c", CURVATURES)
def test_ball_form_equals_the_closed_form(c):
    layer = make_linear("mobius-ball", 4, 3, c).double()
    x = points(layer.manifold, 5, 4)
    root = c**0.5
    rows = []
    for row in x:
        image = layer.weight @ row
        m = (image.norm() / row.norm() * (root * row.norm()).atanh()).tanh() * image / (root * image.norm())
        b = (root * layer.bias.norm()).tanh() * layer.bias / (root * layer.bias.norm())
        rows.append(mobius_add(m, b, c))
    torch.testing.assert_close(layer(x), torch.stack(rows))


@pytest.mark.parametrize("c", CURVATURES)
def test_lorentz_form_is_product_then_transported_bias(c):
    layer = make_linear("mobius-lorentz", 4, 3, c).double()
    manifold = layer.manifold
    x = points(manifold, 5, 4)
    root = c**0.5
    rows = []
    for row in x:
        length = (root * row[0]).acosh() / root
        v = layer.weight @ (length * row[1:] / row[1:].norm())
        r = root * v.norm()
        m = torch.cat((r.cosh().view(1) / root, r.sinh() / r * v))
        # Transport from the origin, then exponential map, as textbooks have them.
        b = torch.cat((torch.zeros(1, dtype=torch.float64), layer.bias))
        o = torch.zeros_like(m)
        o[0] = 1 / root
        product = m[1:] @ b[1:]
        u = b + c * product / (1 + c * (m[0] * o[0])) * (o + m)
        n = (u[1:] @ u[1:] - u[0] ** 2).sqrt()
        rows.append((root * n).cosh() * m + (root * n).sinh() / (root * n) * u)
    torch.testing.assert_close(layer(x), torch.stack(rows))


def test_a_zero_bias_moves():
    # geoopt's logarithm has zero gradient at the origin in float32, which freezes a bias that starts at zero.
    layer = MobiusLinear(4, 3)
    x = points(layer.manifold, 5, 4, radius=0.0, dtype=torch.float32)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.bias.grad, torch.full((3,), 5.0))


def test_dropout_acts_on_the_weight_and_only_in_training():
    layer = MobiusLinear(40, 3, bias=False, dropout=0.5).double()
    x = points(layer.manifold, 5, 40)
    torch.manual_seed(0)
    y = layer(x)
    torch.manual_seed(0)
    dropped = dropout(layer.weight.detach(), 0.5)
    layer.eval()
    assert not torch.allclose(layer(x), y)
    with torch.no_grad():
        layer.weight.copy_(dropped)
    torch.testing.assert_close(layer(x), y)
