"""Residual connections against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare
from hypersst.nn import HyperbolicResidual
from hypersst.nn.residual import centroid_of_two, translated

every_form = pytest.mark.parametrize("form", ["centroid", "translation"])
every_manifold = pytest.mark.parametrize("kind", MANIFOLDS.values(), ids=MANIFOLDS)


def pair(manifold, radius=1.0, dtype=torch.float64):
    return points(manifold, 5, 3, radius=radius, dtype=dtype), points(
        manifold, 5, 3, radius=radius, dtype=dtype, seed=1
    )


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("c", CURVATURES)
def test_the_centroid_is_the_normalised_sum(c, weight):
    layer = HyperbolicResidual(manifold=Lorentz(c), weight=weight).double()
    x, y = pair(layer.manifold)
    rows = []
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        s = [p + weight * q for p, q in zip(a, b, strict=True)]
        square = -(s[0] ** 2) + sum(t * t for t in s[1:])
        rows.append([t / (math.sqrt(c) * math.sqrt(-square)) for t in s])
    expected = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(layer(x, y), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("c", CURVATURES)
def test_on_the_ball_the_centroid_is_the_gyromidpoint(c, weight):
    layer = HyperbolicResidual(manifold=PoincareBall(c), weight=weight).double()
    x, y = pair(layer.manifold)
    rows = []
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        lam_a, lam_b = (2.0 / (1.0 - c * sum(t * t for t in v)) for v in (a, b))
        m = [lam_a * p + weight * lam_b * q for p, q in zip(a, b, strict=True)]
        m = [t / (lam_a - 1.0 + weight * (lam_b - 1.0)) for t in m]
        # Möbius multiplication by one half.
        r = math.sqrt(c) * math.hypot(*m)
        rows.append([math.tanh(0.5 * math.atanh(r)) / r * t for t in m])
    expected = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(layer(x, y), expected, rtol=1e-10, atol=1e-10)


@every_manifold
def test_the_centroid_agrees_with_that_of_many_points_in_values_and_gradients(kind):
    manifold = kind(0.75).double()
    x, y = (t.requires_grad_() for t in pair(manifold))
    weight = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    # The manifold takes gradients with respect to time as well; a projection makes both follow space.
    x_on, y_on = manifold.projx(x), manifold.projx(y)
    found = centroid_of_two(x_on, y_on, weight, manifold)
    both = torch.stack((torch.ones_like(weight), weight)).expand(5, 2)
    expected = manifold.midpoint(torch.stack((x_on, y_on), dim=-2), both)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(found)

    def gradients(z):
        return torch.autograd.grad((z * direction).sum(), (x, y, weight), retain_graph=True)

    torch.testing.assert_close(gradients(found), gradients(expected))


@every_manifold
def test_far_out_the_centroid_needs_no_float64(kind):
    manifold = kind(0.75, max_radius=7.0 / 0.75**0.5)
    near = 1e-2 * torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    for x, y in (pair(manifold, 7.0, torch.float32), (points(manifold, 5, 3, radius=7.0, dtype=torch.float32),) * 2):
        y = manifold.expmap(y, manifold.transp0(y, torch.nn.functional.pad(near, (int(kind is Lorentz), 0))))
        found = centroid_of_two(x, y, 0.6, manifold)
        wide = kind(0.75).double()
        x, y = (wide.from_space(t[..., 1:].double()) if kind is Lorentz else t.double() for t in (x, y))
        expected = centroid_of_two(x, y, 0.6, wide)
        assert ((found - expected).norm(dim=-1) < 1e-3 * expected.norm(dim=-1)).all()


@pytest.mark.parametrize("c", CURVATURES)
def test_on_the_ball_the_translation_is_a_mobius_sum(c):
    layer = HyperbolicResidual(manifold=PoincareBall(c), form="translation", weight=0.6).double()
    x, y = pair(layer.manifold)
    rows = []
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        r = math.sqrt(c) * math.hypot(*b)
        b = [math.tanh(0.6 * math.atanh(r)) / r * t for t in b]
        ab, aa, bb = (sum(p * q for p, q in zip(u, v, strict=True)) for u, v in ((a, b), (a, a), (b, b)))
        denominator = 1.0 + 2.0 * c * ab + c * c * aa * bb
        rows.append(
            [((1.0 + 2.0 * c * ab + c * bb) * p + (1.0 - c * aa) * q) / denominator for p, q in zip(a, b, strict=True)]
        )
    expected = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(layer(x, y), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("c", CURVATURES)
def test_on_the_hyperboloid_the_translation_follows_the_transported_logarithm(c):
    layer = HyperbolicResidual(manifold=Lorentz(c), form="translation", weight=0.6).double()
    x, y = pair(layer.manifold)
    k, rows = math.sqrt(c), []
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        rho = math.acosh(k * b[0])
        v = [0.0, *(0.6 * rho / math.sinh(rho) * t for t in b[1:])]
        # P(v) = v + <x, v> / (1/c - <o, x>) (o + x)
        product = sum(p * q for p, q in zip(a[1:], v[1:], strict=True))
        o = [1.0 / k, 0.0, 0.0, 0.0]
        factor = product / (1.0 / c + a[0] / k)
        u = [t + factor * (p + q) for t, p, q in zip(v, o, a, strict=True)]
        r = k * math.sqrt(-(u[0] ** 2) + sum(t * t for t in u[1:]))
        rows.append([math.cosh(r) * p + math.sinh(r) / r * t for p, t in zip(a, u, strict=True)])
    expected = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(layer(x, y), expected, rtol=1e-10, atol=1e-10)


@every_form
def test_both_models_hold_the_same_layer(form):
    lorentz, ball = (
        HyperbolicResidual(manifold=k(0.75), form=form, weight=0.6).double() for k in (Lorentz, PoincareBall)
    )
    c = lorentz.manifold.c
    x, y = pair(lorentz.manifold)
    found = ball(lorentz_to_poincare(x, c), lorentz_to_poincare(y, c))
    torch.testing.assert_close(found, lorentz_to_poincare(lorentz(x, y), c))


@every_manifold
def test_the_origin_is_neutral_in_a_translation_and_a_weight_of_minus_one_subtracts(kind):
    manifold = kind(0.75).double()
    x, y = pair(manifold)
    o = points(manifold, 5, 3, radius=0.0)
    torch.testing.assert_close(translated(x, o, 1.0, manifold), x)
    torch.testing.assert_close(translated(o, y, 1.0, manifold), y)
    subtracting = HyperbolicResidual(manifold=manifold, form="translation", weight=-1.0)
    torch.testing.assert_close(subtracting(x, x), o, rtol=0.0, atol=1e-10)


@every_form
@every_manifold
def test_of_equal_points_and_at_the_origin_gradients_are_finite(form, kind):
    layer = HyperbolicResidual(manifold=kind(0.75), form=form, learnable=True)
    for radius in (0.0, 1.0):
        x = points(layer.manifold, 5, 3, radius=radius, dtype=torch.float32)
        x, y = x.clone().requires_grad_(), x.clone().requires_grad_()
        z = layer(x, y)
        if form == "centroid":
            torch.testing.assert_close(z, x)
        grads = torch.autograd.grad(z.square().sum(), (x, y, layer.log_weight))
        assert all(grad.isfinite().all() for grad in grads)


def test_a_learned_weight_stays_positive_and_is_set_back():
    layer = HyperbolicResidual(weight=0.6, learnable=True)
    torch.testing.assert_close(layer.weight, torch.tensor(0.6))
    with torch.no_grad():
        layer.log_weight.sub_(50.0)
    assert layer.weight > 0.0
    layer.reset_parameters()
    torch.testing.assert_close(layer.weight, torch.tensor(0.6))
    assert "form='centroid', weight=0.6, learnable=True" in repr(layer)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`form` must be one of centroid, translation, got 'sum'"):
        HyperbolicResidual(form="sum")
    with pytest.raises(ValueError, match=r"`weight` must be finite, and not negative in a centroid, got -1\.0"):
        HyperbolicResidual(weight=-1.0)
    with pytest.raises(ValueError, match="`weight` must be finite"):
        HyperbolicResidual(weight=math.inf, form="translation")
    with pytest.raises(ValueError, match=r"`weight` must be positive to be learned, got 0\.0"):
        HyperbolicResidual(weight=0.0, learnable=True)
