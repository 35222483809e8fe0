"""Charts: coordinates of points of either model."""

from __future__ import annotations

import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, off_manifold, points
from scalar_charts import point_of, row_in_chart

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare
from hypersst.nn import ball_activation, from_chart, to_chart

CHARTS = ("tangent", "space", "ball")

every_chart = pytest.mark.parametrize("chart", CHARTS)
every_manifold = pytest.mark.parametrize("kind", MANIFOLDS.values(), ids=MANIFOLDS)


@pytest.mark.parametrize("c", CURVATURES)
@every_chart
@every_manifold
def test_coordinates_are_those_of_the_definition_number_by_number(kind, chart, c):
    manifold = kind(c).double()
    x = points(manifold, 5, 3, radius=1.5)
    expected = torch.tensor([row_in_chart(row, c, kind is Lorentz, chart) for row in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(to_chart(x, manifold, chart), expected, rtol=1e-10, atol=1e-10)
    v = 0.4 * expected
    back = torch.tensor([point_of(row, c, kind is Lorentz, chart) for row in v.tolist()], dtype=torch.float64)
    torch.testing.assert_close(from_chart(v, manifold, chart), back, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("radius", [0.0, 1e-6, 1e-2, 1.0, 5.0, 6.9])
@every_chart
@every_manifold
def test_going_to_a_chart_and_back_changes_nothing(kind, chart, radius):
    manifold = kind(0.75)
    x = points(manifold, 7, 4, radius=radius, dtype=torch.float32)
    back = from_chart(to_chart(x, manifold, chart), manifold, chart)
    # The ball loses 1/cosh²(radius/2) of its digits near the border, whatever leads through it.
    torch.testing.assert_close(back, x, rtol=1e-3 if radius > 4.0 else 1e-5, atol=1e-12)


@every_chart
def test_isometric_points_have_the_same_coordinates_up_to_the_factor_of_the_ball(chart):
    lorentz, ball = Lorentz(0.75).double(), PoincareBall(0.75).double()
    x = points(lorentz, 5, 3)
    scale = 2.0 if chart == "tangent" else 1.0
    y = lorentz_to_poincare(x, lorentz.c)
    torch.testing.assert_close(to_chart(x, lorentz, chart), scale * to_chart(y, ball, chart))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [4.0, 1e6, 1e25])
@every_chart
@every_manifold
def test_coordinates_far_out_mean_points_at_the_largest_radius_with_finite_gradients(kind, chart, size, dtype):
    manifold = kind(0.75, max_radius=2.0).to(dtype)
    v = size * torch.tensor([[0.6, -0.8], [0.0, 1.0]], dtype=dtype)
    v.requires_grad_()
    x = from_chart(v, manifold, chart)
    torch.testing.assert_close(manifold.dist0(x), torch.full((2,), 2.0, dtype=dtype), rtol=1e-5, atol=0.0)
    assert off_manifold(x, manifold) < 1e-5
    # Where squares of coordinates overflow there is nothing to be said about the direction.
    if size < 1e19:
        directions = to_chart(x, manifold, "space")
        torch.testing.assert_close(directions / directions.norm(dim=-1, keepdim=True), v.detach() / size)
    assert torch.autograd.grad(x.sum(), v)[0].isfinite().all()


@every_chart
@every_manifold
def test_at_the_origin_values_and_gradients_are_finite(kind, chart):
    manifold = kind(0.75)
    v = torch.zeros(2, 3, requires_grad=True)
    x = from_chart(v, manifold, chart)
    assert (to_chart(x, manifold, chart) == 0.0).all()
    found = torch.autograd.grad(to_chart(x, manifold, chart)[:, 0].sum(), v)[0]
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0, 0.0]]).expand(2, 3))


@every_chart
@every_manifold
def test_half_precision_is_computed_in_float32(kind, chart):
    manifold = kind()
    x = points(manifold, 2, 3, dtype=torch.float32).bfloat16()
    v = to_chart(x, manifold, chart)
    assert v.dtype == torch.float32
    assert from_chart(v.bfloat16(), manifold, chart).dtype == torch.float32


@every_manifold
def test_a_function_of_ball_coordinates_acts_in_the_ball_s_chart(kind):
    manifold = kind(0.75)
    x = points(manifold, 5, 3, dtype=torch.float32)
    expected = from_chart(to_chart(x, manifold, "ball").tanh(), manifold, "ball")
    assert torch.equal(ball_activation(x, torch.tanh, manifold), expected)
    assert ball_activation(x, None, manifold) is x


def test_unknown_charts_are_refused():
    message = "`chart` must be one of tangent, space, ball, got 'spaces'; did you mean space"
    with pytest.raises(ValueError, match=message):
        to_chart(torch.zeros(3), PoincareBall(), "spaces")
    with pytest.raises(ValueError, match=message):
        from_chart(torch.zeros(3), PoincareBall(), "spaces")
