"""Three forms of the Lorentz linear layer against the papers' formulas in their most naive form."""

from __future__ import annotations

import math

import pytest
import torch
from layer_cases import CURVATURES, make_linear, points

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare
from hypersst.nn import CSRMatrix, LorentzLinear, PoincareLinear
from hypersst.nn.dropout import dropout


def slow_gated(layer, x):
    """HyboNet, one number after the other."""
    c = float(layer.manifold.c)
    z = [sum(w * v for w, v in zip(row, x, strict=True)) for row in layer.weight.tolist()]
    z = [a + b for a, b in zip(z, layer.bias.tolist(), strict=True)]
    t = math.exp(layer.scale.item()) / (1 + math.exp(-z[0])) + 1.1 / math.sqrt(c)
    length = math.sqrt(sum(a * a for a in z[1:]))
    return [t] + [a * math.sqrt(t * t - 1 / c) / length for a in z[1:]]


def slow_recomputed(layer, x):
    """Hypformer's HTC."""
    c = float(layer.manifold.c)
    z = [sum(w * v for w, v in zip(row, x, strict=True)) for row in layer.weight.tolist()]
    z = [a + b for a, b in zip(z, layer.bias.tolist(), strict=True)]
    return [math.sqrt(1 / c + sum(a * a for a in z)), *z]


def slow_hyperplane(layer, x):
    """PLFC, with the distance written as in the Lorentz MLR."""
    c = float(layer.manifold.c)
    space = []
    for z, a in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True):
        length = math.sqrt(sum(v * v for v in z))
        w_time = math.sinh(math.sqrt(c) * a) * length
        w_space = [math.cosh(math.sqrt(c) * a) * v for v in z]
        alpha = sum(w * v for w, v in zip(w_space, x[1:], strict=True)) - w_time * x[0]
        beta = math.sqrt(sum(w * w for w in w_space) - w_time**2)
        v = math.copysign(beta / math.sqrt(c) * math.asinh(math.sqrt(c) * abs(alpha) / beta), alpha)
        space.append(math.sinh(math.sqrt(c) * v) / math.sqrt(c))
    return [math.sqrt(1 / c + sum(s * s for s in space)), *space]


SLOW = {"gated": slow_gated, "recomputed": slow_recomputed, "hyperplane": slow_hyperplane}


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("time", SLOW)
def test_each_form_equals_its_slow_twin(time, c):
    layer = make_linear(time, 4, 3, c).double()
    x = points(layer.manifold, 5, 4)
    expected = torch.tensor([SLOW[time](layer, row) for row in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(layer(x).detach(), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("c", CURVATURES)
def test_the_hyperplane_form_is_the_poincare_layer_in_the_other_model(c):
    ball_layer = PoincareLinear(4, 3, manifold=PoincareBall(c)).double()
    layer = LorentzLinear(4, 3, time="hyperplane", manifold=Lorentz(c)).double()
    with torch.no_grad():
        ball_layer.bias.normal_(std=0.2)
        layer.weight.copy_(2 * ball_layer.weight)
        layer.bias.copy_(2 * ball_layer.bias)
    x = points(layer.manifold, 6, 4)
    curvature = layer.manifold.c
    there = lorentz_to_poincare(layer(x), curvature)
    torch.testing.assert_close(ball_layer(lorentz_to_poincare(x, curvature)), there)


def test_the_hyperplane_form_has_distances_as_coordinates():
    # Unit directions along the axes through the origin: the layer is the identity.
    layer = LorentzLinear(4, 4, time="hyperplane").double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(4))
    x = points(layer.manifold, 5, 4, radius=2.0)
    torch.testing.assert_close(layer(x), x)


@pytest.mark.parametrize("c", [0.01, 0.3, 0.826, 1.0, 1.3, 50.0])
def test_the_gate_never_leaves_the_manifold_for_any_curvature(c):
    # HyboNet's constant offset 1.1 is below 1/sqrt(c) for c < 0.83: the root would be of a negative number.
    layer = LorentzLinear(3, 3, manifold=Lorentz(c)).double()
    with torch.no_grad():
        layer.weight[1:].normal_(std=3.0)
        layer.weight[0] = 0.0
        layer.bias[0] = -50.0  # gate shut: t is the offset alone
    y = layer(points(layer.manifold, 8, 3))
    assert y.isfinite().all()
    torch.testing.assert_close(y[:, 0], torch.full((8,), 1.1 / math.sqrt(c), dtype=torch.float64))
    torch.testing.assert_close(layer.manifold.inner(None, y, y), torch.full((8,), -1 / c, dtype=torch.float64))


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize(("dtype", "radius"), [(torch.float32, 7.0), (torch.float64, 15.0)])
def test_a_scale_that_grows_leads_no_farther_than_the_manifolds_radius_and_comes_back(dtype, radius, c):
    layer = make_linear("gated", 4, 3, c).to(dtype)
    x = points(layer.manifold, 5, 4).to(dtype)
    reached = math.log((math.cosh(radius) - 1.1) / math.sqrt(c))
    far = []
    for scale in (reached - 0.5, reached, reached + 0.5, reached + 30.0):
        with torch.no_grad():
            layer.scale.fill_(scale)
            layer.bias[0] = 50.0  # gate open
        far.append(layer(x)[:, 0])
    torch.testing.assert_close(far[1], torch.full_like(far[1], math.cosh(radius) / math.sqrt(c)), rtol=1e-4, atol=0.0)
    torch.testing.assert_close(far[0], far[2], rtol=1e-4, atol=0.0)
    torch.testing.assert_close(far[3], torch.full_like(far[3], 1.1 / math.sqrt(c)), rtol=1e-3, atol=0.0)
    for scale, towards in ((reached - 0.5, 1.0), (reached + 0.5, -1.0)):
        with torch.no_grad():
            layer.scale.fill_(scale)
        (grad,) = torch.autograd.grad(layer(x)[:, 0].sum(), layer.scale)
        assert grad.sign() == towards


def test_a_scale_keeps_within_a_radius_that_the_manifold_is_given():
    layer = LorentzLinear(4, 3, manifold=Lorentz(2.0, max_radius=2.5)).double()
    with torch.no_grad():
        layer.scale.fill_(3.0)
    y = layer(points(layer.manifold, 50, 4))
    assert layer.manifold.dist0(y).max() <= 2.5


def test_the_gate_starts_as_hybonet_does():
    layer = LorentzLinear(30, 24)
    assert (layer.weight[:, 0] == 0).all()
    assert layer.weight.abs().max() <= 1 / math.sqrt(25)
    assert layer.weight.abs().max() > 0.9 / math.sqrt(25)
    assert (layer.bias == 0).all()
    assert layer.scale.item() == pytest.approx(math.log(10.0))
    assert layer.weight.shape == (25, 31)
    assert layer.ambient_channels == (31, 25)


def test_activation_comes_before_the_weight_and_acts_on_the_ambient_vector():
    layer = LorentzLinear(4, 3, time="recomputed", activation="relu").double()
    x = points(layer.manifold, 5, 4)
    z = torch.relu(x) @ layer.weight.t() + layer.bias
    torch.testing.assert_close(layer(x)[:, 1:], z)


def test_dropout_acts_on_the_ambient_vector_and_only_in_training():
    layer = LorentzLinear(4, 3, time="recomputed", dropout=0.5).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 5))
    x = points(layer.manifold, 5, 4)
    torch.manual_seed(3)
    y = layer(x)
    torch.manual_seed(3)
    expected = dropout(x, 0.5) @ layer.weight.t() + layer.bias
    torch.testing.assert_close(y[:, 1:], expected)
    layer.eval()
    torch.testing.assert_close(layer(x)[:, 1:], x @ layer.weight.t() + layer.bias)


def test_dropout_of_sparse_points_keeps_the_mean():
    layer = LorentzLinear(4, 3, time="recomputed", dropout=0.5).double()
    x = points(layer.manifold, 1, 4)
    torch.manual_seed(0)
    many = torch.stack([layer(CSRMatrix.from_dense(x))[0, 1:] for _ in range(2000)])
    layer.eval()
    exact = layer(x)[0, 1:]
    # Five standard errors of a mean of 2,000.
    assert ((many.mean(0) - exact).abs() <= 5 * many.std(0) / math.sqrt(2000)).all()


def test_far_hyperplanes_and_large_weights_stay_finite_in_float32():
    layer = LorentzLinear(4, 3, time="hyperplane")
    with torch.no_grad():
        layer.weight.fill_(100.0)
        layer.bias.copy_(torch.tensor([200.0, -90.0, 0.0]))
    x = points(layer.manifold, 5, 4, radius=6.5, dtype=torch.float32).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert layer.manifold.dist0(y).max() <= 7.01
    for gradient in (x.grad, layer.weight.grad, layer.bias.grad):
        assert gradient.isfinite().all()


def test_an_activation_refuses_sparse_points():
    with pytest.raises(TypeError, match="`x` must be dense for a layer with `activation`, got a CSRMatrix"):
        LorentzLinear(4, 3, activation="relu")(CSRMatrix.from_dense(torch.eye(5)))


def test_representation_names_sizes_and_form():
    first = repr(LorentzLinear(16, 32, dropout=0.5)).splitlines()[1].strip()
    assert first == "16, 32, bias=True, time='gated', dropout=0.5"
