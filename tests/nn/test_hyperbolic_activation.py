"""Elementwise functions of points against their formula."""

from __future__ import annotations

import math

import geoopt
import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points
from scalar_charts import by_row
from torch import nn

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare
from hypersst.nn import HyperbolicActivation

every_chart = pytest.mark.parametrize("chart", ["tangent", "space", "ball"])
every_manifold = pytest.mark.parametrize("kind", MANIFOLDS.values(), ids=MANIFOLDS)


@pytest.mark.parametrize("c", CURVATURES)
@every_chart
@every_manifold
def test_the_function_acts_on_each_coordinate(kind, chart, c):
    layer = HyperbolicActivation("tanh", manifold=kind(c), out_manifold=kind(0.5), chart=chart).double()
    x = points(layer.manifold, 5, 3, radius=0.8)
    expected = by_row(lambda v: [math.tanh(t) for t in v], x, layer.manifold, chart, layer.out_manifold)
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)


@every_chart
def test_a_function_that_commutes_with_scaling_is_the_same_map_on_both_models(chart):
    lorentz = HyperbolicActivation("leaky_relu", manifold=Lorentz(0.75), chart=chart).double()
    ball = HyperbolicActivation("leaky_relu", manifold=PoincareBall(0.75), chart=chart).double()
    x = points(lorentz.manifold, 5, 3)
    c = lorentz.manifold.c
    torch.testing.assert_close(ball(lorentz_to_poincare(x, c)), lorentz_to_poincare(lorentz(x), c))


@every_manifold
def test_without_a_function_the_tangent_vector_goes_to_the_other_curvature(kind):
    layer = HyperbolicActivation(None, manifold=kind(2.0), out_manifold=kind(0.5)).double()
    x = points(layer.manifold, 5, 3)
    torch.testing.assert_close(layer.out_manifold.dist0(layer(x)), layer.manifold.dist0(x))


@every_manifold
def test_a_learned_curvature_and_a_learned_function_receive_gradients(kind):
    out = kind(0.5, learnable=True)
    layer = HyperbolicActivation(nn.PReLU(), manifold=kind(2.0), out_manifold=out)
    layer(points(layer.manifold, 5, 3, dtype=torch.float32)).square().sum().backward()
    assert len(list(layer.parameters())) == 2
    assert all(p.grad.abs().sum() > 0.0 for p in layer.parameters())


def test_geoopt_manifolds_are_taken():
    layer = HyperbolicActivation("relu", manifold=geoopt.Lorentz(k=2.0))
    assert isinstance(layer.manifold, Lorentz)
    assert float(layer.manifold.c) == 0.5
    assert isinstance(HyperbolicActivation("relu").manifold, PoincareBall)


def test_its_text_names_function_and_chart():
    assert "relu, chart='space'" in repr(HyperbolicActivation("relu", chart="space"))
    assert "PReLU" in repr(HyperbolicActivation(nn.PReLU()))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`activation` must be one of"):
        HyperbolicActivation("rely")
    with pytest.raises(ValueError, match="`chart` must be one of"):
        HyperbolicActivation("relu", chart="klein")
    with pytest.raises(ValueError, match="`out_manifold` must be of the same kind as `manifold`"):
        HyperbolicActivation("relu", manifold=Lorentz(), out_manifold=PoincareBall())
    with pytest.raises(TypeError, match="`manifold` must be"):
        HyperbolicActivation("relu", manifold=geoopt.Euclidean())
