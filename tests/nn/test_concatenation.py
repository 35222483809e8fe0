"""Joining and splitting of points against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points
from scalar_charts import point_of, row_in_chart

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare
from hypersst.nn import HyperbolicConcat, HyperbolicSplit, concatenate, split

SIZES = (2, 1, 4)
CHART = {"direct": "space", "beta": "tangent"}

every_form = pytest.mark.parametrize("form", ["direct", "beta"])
every_manifold = pytest.mark.parametrize("kind", MANIFOLDS.values(), ids=MANIFOLDS)


def parts_on(manifold, radius=1.0, dtype=torch.float64):
    return [points(manifold, 5, d, radius=radius, seed=d, dtype=dtype) for d in SIZES]


def beta(n):
    return math.gamma(n / 2) * math.gamma(1 / 2) / math.gamma((n + 1) / 2)


@pytest.mark.parametrize("c", CURVATURES)
@every_form
@every_manifold
def test_coordinates_are_put_side_by_side_number_by_number(kind, form, c):
    layer = HyperbolicConcat(manifold=kind(c), form=form).double()
    parts = parts_on(layer.manifold)
    rows = []
    for points_of_row in zip(*(x.tolist() for x in parts), strict=True):
        v = []
        for point, d in zip(points_of_row, SIZES, strict=True):
            scale = beta(sum(SIZES)) / beta(d) if form == "beta" else 1.0
            v += [scale * t for t in row_in_chart(point, c, kind is Lorentz, CHART[form])]
        rows.append(point_of(v, c, kind is Lorentz, CHART[form]))
    expected = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(layer(*parts), expected, rtol=1e-10, atol=1e-10)


@every_form
@every_manifold
def test_splitting_undoes_joining(kind, form):
    manifold = kind(0.75).double()
    parts = parts_on(manifold)
    for found, expected in zip(split(concatenate(parts, manifold, form), SIZES, manifold, form), parts, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    layer = HyperbolicSplit(SIZES, manifold=manifold, form=form)
    x = points(manifold, 5, sum(SIZES))
    torch.testing.assert_close(concatenate(layer(x), manifold, form), x, rtol=1e-10, atol=1e-10)


@every_form
def test_both_models_hold_the_same_layer(form):
    lorentz, ball = (HyperbolicConcat(manifold=kind(0.75), form=form).double() for kind in (Lorentz, PoincareBall))
    parts, c = parts_on(lorentz.manifold), lorentz.manifold.c
    found = ball(*(lorentz_to_poincare(x, c) for x in parts))
    torch.testing.assert_close(found, lorentz_to_poincare(lorentz(*parts), c))


@every_form
@every_manifold
def test_one_part_is_the_whole(kind, form):
    manifold = kind(0.75).double()
    x = points(manifold, 5, 3)
    torch.testing.assert_close(concatenate([x], manifold, form), x)
    torch.testing.assert_close(split(x, [3], manifold, form)[0], x)


@every_manifold
def test_beta_keeps_the_mean_length_of_many_parts(kind):
    # What the scaling is for: tangent coordinates of the same deviation, whatever the number of dimensions, have
    # lengths in proportion to 1 / B(n/2, 1/2). Unit vectors in d dimensions so become nearly unit ones in n.
    manifold = kind(0.75).double()
    parts = [points(manifold, 5, 16, seed=seed) for seed in range(8)]
    torch.testing.assert_close(
        manifold.dist0(concatenate(parts, manifold, "beta")), manifold.dist0(parts[0]), rtol=0.02, atol=0.0
    )
    assert (manifold.dist0(concatenate(parts, manifold)) > 1.5 * manifold.dist0(parts[0])).all()


@every_form
@every_manifold
def test_of_origins_gradients_are_finite(kind, form):
    manifold = kind(0.75)
    parts = [x.requires_grad_() for x in parts_on(manifold, radius=0.0, dtype=torch.float32)]
    y = concatenate(parts, manifold, form)
    assert (y[..., -sum(SIZES) :] == 0.0).all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(y[..., -1].sum(), parts, materialize_grads=True))


def test_bad_arguments_are_refused():
    for build in (HyperbolicConcat, lambda **kw: HyperbolicSplit([2], **kw)):
        with pytest.raises(ValueError, match="`form` must be one of direct, beta, got 'gamma'"):
            build(form="gamma")
    with pytest.raises(ValueError, match="`points` must hold at least one tensor"):
        HyperbolicConcat()()
    with pytest.raises(ValueError, match="`sizes` must hold at least one size"):
        HyperbolicSplit([])
    with pytest.raises(ValueError, match="`sizes` must be at least 1, got 0"):
        HyperbolicSplit([2, 0])
    with pytest.raises(ValueError, match=r"sum\(sizes\) \+ 1 = 6 columns, got shape \(4, 5\)"):
        HyperbolicSplit([2, 3], manifold=Lorentz())(torch.zeros(4, 5))


def test_their_texts_say_sizes_and_form():
    assert "form='beta'" in repr(HyperbolicConcat(form="beta"))
    assert "[2, 3], form='direct'" in repr(HyperbolicSplit((2, 3)))
