"""Losses on distances against loops."""

from __future__ import annotations

import math

import geoopt
import pytest
import torch
from layer_cases import MANIFOLDS, points
from torch import Tensor

from hypersst.nn import distance_contrastive_loss, distance_softmax_loss, distance_triplet_loss, distortion_loss


@pytest.fixture(params=MANIFOLDS)
def manifold(request):
    return MANIFOLDS[request.param](0.75).double()


def distance(manifold, x: Tensor, y: Tensor) -> float:
    return float(manifold.dist(x, y))


@pytest.mark.parametrize("squared", [False, True])
def test_triplets_are_the_loop(manifold, squared):
    a, p, n = (points(manifold, 5, 3, seed=seed) for seed in range(3))
    power = 2 if squared else 1
    each = [
        max(0.0, 0.3 + distance(manifold, a[i], p[i]) ** power - distance(manifold, a[i], n[i]) ** power)
        for i in range(5)
    ]
    assert 0.0 in each  # a triplet that is as it should be
    found = distance_triplet_loss(a, p, n, manifold=manifold, margin=0.3, squared=squared)
    assert float(found) == pytest.approx(sum(each) / 5, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.5, torch.tensor(2.0, dtype=torch.float64)])
def test_contrast_is_the_loop(manifold, temperature):
    x, y = points(manifold, 5, 3), points(manifold, 5, 3, seed=1)
    total, t = 0.0, float(temperature)
    for i in range(5):
        scores = [math.exp(-distance(manifold, x[i], y[j]) / t) for j in range(5)]
        total -= math.log(scores[i] / sum(scores))
    found = distance_contrastive_loss(x, y, manifold=manifold, temperature=temperature)
    assert float(found) == pytest.approx(total / 5, rel=1e-10)


def test_contrast_tells_near_partners_far_out_apart_from_equal_ones():
    # In float32 a product says nothing of distances of 1e-3 at radius 7: the partners' are taken pair by pair.
    manifold = MANIFOLDS["lorentz"]()
    x = points(manifold, 4, 3, radius=6.9, dtype=torch.float32)
    y = manifold.from_space(x[:, 1:] * (1 + 1e-3)).requires_grad_()
    loss = distance_contrastive_loss(x, y, manifold=manifold, temperature=1e-3)
    (gradient,) = torch.autograd.grad(loss, y)
    wide = y.detach().double().requires_grad_()
    exact = distance_contrastive_loss(x.double(), wide, manifold=manifold.double(), temperature=1e-3)
    (expected,) = torch.autograd.grad(exact, wide)
    torch.testing.assert_close(gradient.double(), expected, rtol=5e-2, atol=1e-6)


def test_gradients_of_the_contrast_are_those_of_all_pairs(manifold):
    x, y = points(manifold, 5, 3).requires_grad_(), points(manifold, 5, 3, seed=1).requires_grad_()
    found = torch.autograd.grad(distance_contrastive_loss(x, y, manifold=manifold), (x, y))
    scores = -manifold.dist(x.unsqueeze(1), y.unsqueeze(0))
    slow = (scores.logsumexp(-1) - scores.diagonal()).mean()
    torch.testing.assert_close(found, torch.autograd.grad(slow, (x, y)), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_softmax_is_the_loop(manifold, reduction):
    x, p, n = points(manifold, 2, 3, 4), points(manifold, 2, 3, 4, seed=1), points(manifold, 2, 3, 5, 4, seed=2)
    total = 0.0
    for i in range(2):
        for j in range(3):
            near = math.exp(-distance(manifold, x[i, j], p[i, j]))
            far = [math.exp(-distance(manifold, x[i, j], n[i, j, k])) for k in range(5)]
            total -= math.log(near / (near + sum(far)))
    found = distance_softmax_loss(x, p, n, manifold=manifold, reduction=reduction)
    assert float(found) == pytest.approx(total / (6 if reduction == "mean" else 1), rel=1e-10)


def test_softmax_of_far_points_does_not_underflow():
    # The exponentials of their distances are zero in float32.
    space = torch.tensor([[0.0], [1e17], [1e16]])
    x, p, n = MANIFOLDS["lorentz"](1e-4).from_space(space)
    d, e = (float(MANIFOLDS["lorentz"](1e-4).dist(x, y)) for y in (p, n))
    assert e > 1000.0
    found = distance_softmax_loss(x, p, n.unsqueeze(0), manifold=MANIFOLDS["lorentz"](1e-4))
    assert float(found) == pytest.approx(d - e + math.log1p(math.exp(e - d)), rel=1e-5)


def test_distortion_is_the_loop(manifold):
    x, targets = points(manifold, 5, 3), torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    pairs = torch.tensor([[0, 1, 2, 3], [1, 4, 0, 3]])
    each = [
        abs((distance(manifold, x[i], x[j]) / d) ** 2 - 1) for i, j, d in zip(*pairs.tolist(), targets, strict=True)
    ]
    assert float(distortion_loss(x, pairs, targets, manifold=manifold)) == pytest.approx(float(sum(each)) / 4)
    # A pair of one point with itself has no gradient, and spoils none.
    y = x.clone().requires_grad_()
    distortion_loss(y, pairs[:, 3:], targets[3:], manifold=manifold).backward()
    assert (y.grad == 0.0).all()


def test_equal_points_have_finite_gradients(manifold):
    x = torch.cat((points(manifold, 2, 3), manifold.origin(1, points(manifold, 1, 3).size(-1)).double()))
    x = x.as_subclass(Tensor).detach().requires_grad_()
    losses = (
        distance_triplet_loss(x, x, x, manifold=manifold),
        distance_contrastive_loss(x, x, manifold=manifold),
        distance_softmax_loss(x, x, x.unsqueeze(1).expand(-1, 2, -1), manifold=manifold),
    )
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss, x)
        assert gradient.isfinite().all()


def test_geoopts_manifolds_are_taken():
    x, y = torch.zeros(2, 3), torch.full((2, 3), 0.2)
    found = distance_triplet_loss(x, x, y, manifold=geoopt.PoincareBall(1.0), margin=2.0)
    torch.testing.assert_close(found, distance_triplet_loss(x, x, y, manifold=MANIFOLDS["ball"](), margin=2.0))


def test_arguments_that_do_not_fit_are_refused():
    ball, x = MANIFOLDS["ball"](), torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"`x` and `y` must have one shape \(n, ambient\), got \(4, 3\) and \(3, 3\)"):
        distance_contrastive_loss(x, x[1:], manifold=ball)
    with pytest.raises(ValueError, match=r"`temperature` must be positive, got 0\.0"):
        distance_contrastive_loss(x, x, manifold=ball, temperature=0.0)
    with pytest.raises(ValueError, match="`reduction` must be one of mean, sum, got 'none'"):
        distance_softmax_loss(x, x, x.unsqueeze(1), manifold=ball, reduction="none")
    pairs = torch.zeros(2, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"`pairs` and `targets` must have shapes .* got \(4, 2\) and \(4,\)"):
        distortion_loss(x, pairs.t(), torch.ones(4), manifold=ball)
    with pytest.raises(ValueError, match="`pairs` and `targets` must have shapes"):
        distortion_loss(x, pairs, torch.ones(3), manifold=ball)
    with pytest.raises(TypeError, match="`manifold` must be"):
        distance_triplet_loss(x, x, x, manifold=geoopt.Sphere())
