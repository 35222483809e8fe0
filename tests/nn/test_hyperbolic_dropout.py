"""Dropout of coordinates of points."""

from __future__ import annotations

import pytest
import torch
from layer_cases import MANIFOLDS, off_manifold, points
from scalar_charts import by_row

from hypersst.manifolds import Lorentz
from hypersst.nn import HyperbolicDropout, to_chart
from hypersst.nn.dropout import dropout

every_chart = pytest.mark.parametrize("chart", ["tangent", "space", "ball"])
every_manifold = pytest.mark.parametrize("kind", MANIFOLDS.values(), ids=MANIFOLDS)


@every_chart
@every_manifold
def test_dropped_coordinates_are_zero_and_the_others_enlarged(kind, chart):
    layer = HyperbolicDropout(0.25, manifold=kind(0.75), chart=chart).double()
    x = points(layer.manifold, 6, 4, radius=0.5)
    torch.manual_seed(0)
    y = layer(x)
    torch.manual_seed(0)
    mask = iter(dropout(torch.ones(6, 4, dtype=torch.float64), 0.25).tolist())
    expected = by_row(lambda v: [factor * t for factor, t in zip(next(mask), v, strict=True)], x, layer.manifold, chart)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    dropped = to_chart(y, layer.manifold, chart) == 0.0
    assert 0 < dropped.sum() < dropped.numel()


@every_manifold
def test_coordinates_are_dropped_at_their_rate_and_keep_their_mean(kind):
    layer = HyperbolicDropout(0.3, manifold=kind())
    x = points(layer.manifold, 1, 8, radius=0.3, dtype=torch.float32).expand(5000, -1)
    torch.manual_seed(0)
    v, dropped = to_chart(x, layer.manifold, layer.chart), to_chart(layer(x), layer.manifold, layer.chart)
    # 40,000 draws: standard deviation 0.0023 of the rate. A coordinate t has deviation t sqrt(3/7) / sqrt(5000).
    assert abs((dropped == 0.0).float().mean() - 0.3) < 4 * 0.0023
    assert ((dropped.mean(0) - v[0]).abs() < 4 * 0.0093 * v[0].abs()).all()


@every_manifold
def test_in_evaluation_and_for_probability_zero_the_input_comes_back(kind):
    x = points(kind(), 6, 4)
    assert HyperbolicDropout(0.5, manifold=kind()).eval()(x) is x
    assert HyperbolicDropout(0.0, manifold=kind())(x) is x


@every_chart
@every_manifold
def test_results_lie_on_the_manifold_within_its_largest_radius(kind, chart):
    layer = HyperbolicDropout(0.9, manifold=kind(0.75), chart=chart)
    x = points(layer.manifold, 200, 4, radius=6.5, dtype=torch.float32)
    torch.manual_seed(0)
    y = layer(x)
    assert off_manifold(y, layer.manifold) < 1e-6
    # On the ball a radius of 7 is known to 1e-4 or so.
    assert layer.manifold.dist0(y).max() * 0.75**0.5 < 7.001


def test_the_chart_is_that_of_the_model_unless_given():
    assert HyperbolicDropout(manifold=Lorentz()).chart == "space"
    assert HyperbolicDropout().chart == "tangent"
    assert "p=0.5, chart='ball'" in repr(HyperbolicDropout(chart="ball"))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`p` must be at least 0 and below 1, got 1"):
        HyperbolicDropout(1.0)
    with pytest.raises(ValueError, match="`chart` must be one of"):
        HyperbolicDropout(chart="klein")
