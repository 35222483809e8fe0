"""Layer and root-mean-square normalisation of points against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points, shake
from scalar_charts import by_row

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare
from hypersst.nn import HyperbolicLayerNorm, HyperbolicRMSNorm, to_chart

every_norm = pytest.mark.parametrize("norm", [HyperbolicLayerNorm, HyperbolicRMSNorm])
every_chart = pytest.mark.parametrize("chart", ["tangent", "space", "ball"])
every_manifold = pytest.mark.parametrize("kind", MANIFOLDS.values(), ids=MANIFOLDS)


def make(norm, kind, c=0.75, dim=4, size=1.0, **options):
    """A layer whose weight is short enough for any chart."""
    torch.manual_seed(0)
    layer = norm(dim, manifold=kind(c), **options)
    shake(layer)
    with torch.no_grad():
        layer.weight.mul_(size)
    return layer.double()


@pytest.mark.parametrize("c", CURVATURES)
@every_chart
@every_manifold
def test_layer_norm_is_its_formula_number_by_number(kind, chart, c):
    layer = make(HyperbolicLayerNorm, kind, c, size=0.2, chart=chart, eps=1e-3)
    weight, bias = layer.weight.tolist(), layer.bias.tolist()

    def twin(v):
        mean = sum(v) / len(v)
        var = sum((t - mean) ** 2 for t in v) / len(v)
        return [g * (t - mean) / math.sqrt(var + 1e-3) + b for t, g, b in zip(v, weight, bias, strict=True)]

    x = points(layer.manifold, 5, 4)
    torch.testing.assert_close(layer(x), by_row(twin, x, layer.manifold, chart), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("c", CURVATURES)
@every_chart
@every_manifold
def test_rms_norm_is_its_formula_number_by_number(kind, chart, c):
    layer = make(HyperbolicRMSNorm, kind, c, size=0.2, chart=chart, eps=1e-3)
    weight = layer.weight.tolist()

    def twin(v):
        return [g * t / math.sqrt(sum(s * s for s in v) / len(v) + 1e-3) for t, g in zip(v, weight, strict=True)]

    x = points(layer.manifold, 5, 4)
    torch.testing.assert_close(layer(x), by_row(twin, x, layer.manifold, chart), rtol=1e-10, atol=1e-10)


@every_norm
def test_by_default_both_models_hold_the_same_layer(norm):
    lorentz, ball = make(norm, Lorentz), make(norm, PoincareBall)
    ball.load_state_dict(lorentz.state_dict())
    x, c = points(lorentz.manifold, 5, 4), lorentz.manifold.c
    torch.testing.assert_close(ball(lorentz_to_poincare(x, c)), lorentz_to_poincare(lorentz(x), c))


@every_manifold
def test_without_parameters_points_lie_at_the_radius_that_the_docstring_gives(kind):
    x = points(kind(0.75).double(), 5, 9)
    for norm in (HyperbolicLayerNorm, HyperbolicRMSNorm):
        layer = norm(9, eps=0.0, affine=False, manifold=kind(0.75)).double()
        assert not list(layer.parameters())
        expected = torch.full((5,), math.asinh(math.sqrt(0.75 * 9)) / math.sqrt(0.75), dtype=torch.float64)
        torch.testing.assert_close(layer.manifold.dist0(layer(x)), expected)


@every_manifold
def test_rms_norm_without_parameters_keeps_directions(kind):
    layer = HyperbolicRMSNorm(4, affine=False, manifold=kind(0.75)).double()
    x = points(layer.manifold, 5, 4)
    v, w = to_chart(x, layer.manifold, "space"), to_chart(layer(x), layer.manifold, "space")
    torch.testing.assert_close(torch.cosine_similarity(v, w), torch.ones(5, dtype=torch.float64))


@every_norm
@every_chart
@every_manifold
def test_at_the_origin_gradients_are_finite(norm, kind, chart):
    layer = norm(3, manifold=kind(), chart=chart)
    x = layer.manifold.origin(2, 3 + (kind is Lorentz)).as_subclass(torch.Tensor).requires_grad_()
    y = layer(x)
    assert (to_chart(y, layer.manifold, "space") == 0.0).all()
    grads = torch.autograd.grad(y[..., -1].sum(), (x, *layer.parameters()), materialize_grads=True)
    assert all(grad.isfinite().all() for grad in grads)


@every_norm
def test_several_sizes_normalise_several_points_at_once(norm):
    layer = norm((2, 3), manifold=Lorentz()).double()
    x = torch.stack([points(layer.manifold, 5, 3, radius=radius) for radius in (0.5, 1.0)], dim=1)
    v = to_chart(layer(x), layer.manifold, "space")
    torch.testing.assert_close(v.square().mean((1, 2)), torch.ones(5, dtype=torch.float64), rtol=1e-3, atol=1e-3)
    assert v.square().mean(2).std() > 0.01


def test_parameters_are_those_of_torch():
    assert set(HyperbolicLayerNorm(3).state_dict()) == {"weight", "bias", "manifold.fixed_c"}
    assert set(HyperbolicLayerNorm(3, bias=False).state_dict()) == {"weight", "manifold.fixed_c"}
    assert set(HyperbolicRMSNorm(3).state_dict()) == {"weight", "manifold.fixed_c"}
    assert "(3,), eps=1e-05, elementwise_affine=True, " in repr(HyperbolicLayerNorm(3))
    assert "chart='space'" in repr(HyperbolicRMSNorm(3))


@every_norm
def test_bad_arguments_are_refused(norm):
    with pytest.raises(ValueError, match="`normalized_shape` must be at least 1, got 0"):
        norm((2, 0))
    with pytest.raises(ValueError, match="`normalized_shape` must hold at least one size"):
        norm(())
    with pytest.raises(ValueError, match="`chart` must be one of"):
        norm(3, chart="klein")
    with pytest.raises(ValueError, match=r"normalized_shape\[-1\] \+ 1 = 4 columns, got shape \(5, 3\)"):
        norm(3, manifold=Lorentz())(torch.zeros(5, 3))
