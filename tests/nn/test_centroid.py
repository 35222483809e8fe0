"""Centroids, and the grouping of points that both means share."""

from __future__ import annotations

import math

import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points
from torch import Tensor
from torch_geometric.nn import global_mean_pool

from hypersst.manifolds import lorentz_to_poincare
from hypersst.nn import FrechetMean, HyperbolicCentroid

MEANS = {"centroid": HyperbolicCentroid, "frechet": FrechetMean}

every_mean = pytest.mark.parametrize("mean", MEANS)
both_models = pytest.mark.parametrize("name", MANIFOLDS)


def make(mean: str, name: str, c: float = 0.75, **options):
    return MEANS[mean](manifold=MANIFOLDS[name](c, **options)).double()


def law_of_2019(x: list[list[float]], weight: list[float], c: float) -> list[float]:
    """The normalised sum of Lorentz points, by hand."""
    s = [sum(w * row[k] for w, row in zip(weight, x, strict=True)) for k in range(len(x[0]))]
    square = -s[0] * s[0] + sum(a * a for a in s[1:])
    return [a / (math.sqrt(c) * math.sqrt(abs(square))) for a in s]


def ungar_of_2009(x: list[list[float]], weight: list[float], c: float) -> list[float]:
    """The gyromidpoint by hand: half, in the sense of Möbius, of a weighted sum."""
    gammas = [2 / (1 - c * sum(a * a for a in row)) for row in x]
    below = sum(w * (g - 1) for w, g in zip(weight, gammas, strict=True))
    m = [sum(w * g * row[k] for w, g, row in zip(weight, gammas, x, strict=True)) / below for k in range(len(x[0]))]
    r = math.sqrt(c) * math.sqrt(sum(a * a for a in m))
    return [math.tanh(0.5 * math.atanh(r)) / r * a for a in m]


@pytest.mark.parametrize("c", CURVATURES)
@both_models
def test_the_centroid_is_the_papers_formula(name, c):
    pool = make("centroid", name, c)
    x, weight = points(pool.manifold, 4, 3, 5), torch.rand(4, 3, dtype=torch.float64)
    by_hand = law_of_2019 if name == "lorentz" else ungar_of_2009
    expected = [by_hand(group.tolist(), w.tolist(), c) for group, w in zip(x, weight, strict=True)]
    torch.testing.assert_close(pool(x, weight), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)
    torch.testing.assert_close(pool(x), pool.manifold.midpoint(x), rtol=0, atol=1e-12)


@every_mean
def test_the_mean_is_the_same_point_on_both_models(mean):
    lorentz, ball = make(mean, "lorentz"), make(mean, "ball")
    x, weight = points(lorentz.manifold, 4, 3, 5, radius=2.0), torch.rand(4, 3, dtype=torch.float64)
    c = lorentz.manifold.c
    expected = lorentz_to_poincare(lorentz(x, weight), c)
    torch.testing.assert_close(ball(lorentz_to_poincare(x, c), weight), expected)


@both_models
@every_mean
def test_segments_are_means_of_their_own(mean, name):
    pool = make(mean, name)
    x, weight = points(pool.manifold, 7, 3), torch.rand(7, dtype=torch.float64)
    index = torch.tensor([2, 0, 2, 3, 0, 2, 0])
    found = pool(x, weight, index)
    assert found.shape == (4, x.size(1))
    for segment in (0, 2, 3):
        own = index == segment
        torch.testing.assert_close(found[segment], pool(x[own], weight[own]))
    torch.testing.assert_close(found[1], pool.manifold.origin(x.size(1)).as_subclass(Tensor))
    torch.testing.assert_close(pool(x, weight, index, 6)[:4], found)
    torch.testing.assert_close(pool(x, index=index), pool(x, torch.ones_like(weight), index))


@every_mean
def test_segments_without_curvature_are_pygs_pooling(mean):
    pool = make(mean, "ball", 1e-8)
    x, index = torch.randn(7, 3, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 1, 2, 2])
    torch.testing.assert_close(pool(x, index=index), global_mean_pool(x, index), rtol=1e-6, atol=1e-6)


@both_models
@every_mean
def test_only_ratios_of_weights_matter(mean, name):
    pool = make(mean, name)
    x, weight = points(pool.manifold, 4, 3, 5), torch.rand(4, 3, dtype=torch.float64)
    for scale in (1e-30, 1e30):
        torch.testing.assert_close(pool(x, scale * weight), pool(x, weight))
    weight[:, 1] = 0.0
    torch.testing.assert_close(pool(x, weight), pool(x[:, [0, 2]], weight[:, [0, 2]]))


@both_models
@every_mean
def test_one_set_of_points_takes_many_sets_of_weights(mean, name):
    pool = make(mean, name)
    x, weight = points(pool.manifold, 3, 5), torch.rand(2, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(pool(x, weight)[1, 2], pool(x, weight[1, 2]))


@both_models
@every_mean
def test_the_mean_of_one_point_is_that_point(mean, name):
    pool = make(mean, name)
    x = points(pool.manifold, 4, 1, 5, radius=5.0).requires_grad_()
    y = pool(x)
    torch.testing.assert_close(y, x[:, 0])
    direction = torch.randn_like(y)
    if name == "ball":
        (gradient,) = torch.autograd.grad((y * direction).sum(), x)
        torch.testing.assert_close(gradient[:, 0], direction)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@both_models
@every_mean
def test_nothing_to_average_gives_the_origin_and_finite_gradients(mean, name, dtype):
    pool = make(mean, name, learnable=True).to(dtype)
    with torch.no_grad():
        x = points(pool.manifold, 3, 2, 5).to(dtype)
        x[1] = pool.manifold.origin(x.size(-1))
    weight = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 1.0]], dtype=dtype, requires_grad=True)
    x.requires_grad_()
    y = pool(x, weight)
    origin = pool.manifold.origin(x.size(-1), dtype=dtype).as_subclass(Tensor).detach()
    torch.testing.assert_close(y[:2].detach(), origin.expand(2, -1))
    y.square().sum().backward()
    for tensor in (x, weight, *pool.parameters()):
        assert tensor.grad.isfinite().all()
    torch.testing.assert_close(pool(x[:, :0]).detach(), origin.expand(3, -1))


@both_models
@every_mean
def test_float32_means_at_radius_7_are_right(mean, name):
    pool = make(mean, name, 1.0).float()
    x = points(pool.manifold, 100, 4, 8, radius=7.0, dtype=torch.float32)
    found = pool(x)
    pool.double()
    wide = pool.manifold.from_space(x[..., 1:].double()) if name == "lorentz" else x.double()
    exact = pool(wide)
    error = (found - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert found.dtype == torch.float32
    assert float(error.max()) < 1e-6


@both_models
@every_mean
def test_half_precision_is_averaged_in_float32(mean, name):
    pool = make(mean, name).float()
    x = points(pool.manifold, 4, 3, 5, dtype=torch.float32).bfloat16()
    y = pool(x, torch.ones(4, 3, dtype=torch.bfloat16))
    assert y.dtype == torch.float32
    if name == "ball":  # a Lorentz point's time is recomputed
        torch.testing.assert_close(y, pool(x.float()))


@every_mean
def test_shapes_that_do_not_fit_are_refused(mean):
    pool = make(mean, "ball").float()
    x, index = torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match="`x` must have an axis of points before"):
        pool(torch.zeros(3))
    with pytest.raises(ValueError, match=r"`weight` must have one entry for each of 4 points, got shape \(3,\)"):
        pool(x, torch.ones(3))
    with pytest.raises(ValueError, match="`dim_size` must be left out without `index`, got 2"):
        pool(x, dim_size=2)
    with pytest.raises(ValueError, match=r"`x` and `index` must have shapes .* got \(4, 3\) and \(3,\)"):
        pool(x, index=index[:3])
    with pytest.raises(ValueError, match="`x` and `index` must have shapes"):
        pool(x.unsqueeze(0), index=index)
    with pytest.raises(ValueError, match="`weight` must have the shape of `index`"):
        pool(x, torch.ones(2, 4), index)
    with pytest.raises(TypeError, match="`manifold` must be"):
        MEANS[mean](manifold="ball")
