"""Heads, decoders and losses against their formulas."""

from __future__ import annotations

import math

import geoopt
import pytest
import torch
import torch.nn.functional as F
from layer_cases import CURVATURES, MANIFOLDS, points, shake

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare
from hypersst.nn import (
    FermiDirac,
    InnerProduct,
    LorentzMLR,
    LorentzScore,
    PoincareMLR,
    PrototypeHead,
    TangentHead,
    fermi_dirac_logit,
    margin_ranking_loss,
    multi_margin_loss,
)

HEADS = {
    "prototype": (PrototypeHead, Lorentz),
    "lorentz-mlr": (LorentzMLR, Lorentz),
    "poincare-mlr": (PoincareMLR, PoincareBall),
    "tangent-ball": (TangentHead, PoincareBall),
    "tangent-lorentz": (TangentHead, Lorentz),
}


def make_head(name, c=0.75, **options):
    torch.manual_seed(0)
    kind, manifold = HEADS[name]
    head = kind(4, 3, manifold=manifold(c), **options)
    shake(head)
    return head


@pytest.mark.parametrize("c", CURVATURES)
def test_prototype_scores_are_bias_minus_squared_lorentzian_distance(c):
    head = make_head("prototype", c).double()
    head.prototypes.data = head.manifold.projx(head.prototypes.data)
    x = points(head.manifold, 5, 4)
    expected = torch.tensor(
        [
            [
                b - (-2 / c - 2 * (-row[0] * p[0] + sum(a * d for a, d in zip(row[1:], p[1:], strict=True))))
                for p, b in zip(head.prototypes.tolist(), head.bias.tolist(), strict=True)
            ]
            for row in x.tolist()
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(head(x).detach(), expected)


@pytest.mark.parametrize("radius", [1.0, 5.0, 7.0])
def test_prototype_scores_of_near_points_lose_nothing_far_out(radius):
    head = PrototypeHead(8, 3, bias=False)
    with torch.no_grad():
        head.prototypes.copy_(points(head.manifold, 3, 8, radius=radius, dtype=torch.float32, seed=1))
    near = head.prototypes.detach().as_subclass(torch.Tensor)[:1, 1:] * (1 + 0.05 * torch.rand(100, 1))
    x = head.manifold.from_space(near)
    double = Lorentz().double()
    wide, prototypes = (double.from_space(p[:, 1:].double()) for p in (x, head.prototypes.detach()))
    exact = -double.sqdist(wide.unsqueeze(1), prototypes)
    torch.testing.assert_close(head(x).double(), exact, rtol=1e-6, atol=1e-7)


def test_prototypes_are_manifold_parameters_about_one_unit_from_the_origin():
    head = PrototypeHead(64, 50)
    assert isinstance(head.prototypes, geoopt.ManifoldParameter)
    assert head.prototypes.manifold is head.manifold
    radius = head.manifold.dist0(head.prototypes.detach().as_subclass(torch.Tensor))
    assert 0.8 < float(radius.mean()) < 1.2


def test_prototype_scores_keep_their_digits_under_autocast():
    head = make_head("prototype")
    x = points(head.manifold, 5, 4, radius=3.0, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(x)
    torch.testing.assert_close(found, head(x))


@pytest.mark.parametrize("c", CURVATURES)
def test_lorentz_mlr_is_poincare_mlr_in_the_other_model(c):
    lorentz, ball = make_head("lorentz-mlr", c).double(), make_head("poincare-mlr", c).double()
    with torch.no_grad():
        lorentz.weight.copy_(2 * ball.weight)
        lorentz.bias.copy_(2 * ball.bias)
    x = points(lorentz.manifold, 6, 4)
    torch.testing.assert_close(ball(lorentz_to_poincare(x, lorentz.manifold.c)), lorentz(x))


def test_lorentz_mlr_with_unit_directions_measures_distances_to_hyperplanes():
    # The nearest point of the hyperplane x_1 = 0 is found by brute force on a geodesic through it.
    head = LorentzMLR(2, 1, bias=False).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0]]))
    x = points(head.manifold, 3, 2, radius=1.5)
    t = torch.linspace(-4, 4, 200_001, dtype=torch.float64)
    plane = torch.stack((t.cosh(), torch.zeros_like(t), t.sinh()), dim=-1)
    for row in x:
        nearest = head.manifold.dist(row, plane).min()
        torch.testing.assert_close(head(row).squeeze().abs().detach(), nearest, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_tangent_head_is_linear_in_the_logarithm(name):
    head = make_head(f"tangent-{name}").double()
    v = 0.3 * torch.randn(5, 4, dtype=torch.float64)
    x = head.manifold.expmap0(v) if name == "ball" else head.manifold.expmap0_space(v)
    torch.testing.assert_close(head(x), head.linear(v))


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_drawn_anew_and_refuse_wrong_sizes(name):
    head = make_head(name)
    x = points(head.manifold, 5, 4, dtype=torch.float32)
    before = head(x)
    head.reset_parameters()
    assert not torch.allclose(head(x), before)
    with pytest.raises(ValueError, match="`x` must have in_channels"):
        head(torch.zeros(2, 9))
    with pytest.raises(ValueError, match="`out_channels` must be at least 1, got 0"):
        HEADS[name][0](4, 0)


@pytest.mark.parametrize("name", HEADS)
def test_heads_at_the_origin_have_finite_gradients(name):
    head = make_head(name)
    x = points(head.manifold, 5, 4, radius=0.0, dtype=torch.float32).requires_grad_()
    head(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", MANIFOLDS)
def test_fermi_dirac_is_the_formula(name):
    manifold = MANIFOLDS[name](0.75).double()
    x, y = points(manifold, 5, 4), points(manifold, 5, 4, seed=1)
    d = manifold.dist(x, y)
    for r, t in ((2.0, 1.0), (1.0, 0.5)):
        expected = torch.tensor([1 / (math.exp((a * a - r) / t) + 1) for a in d.tolist()], dtype=torch.float64)
        decoder = FermiDirac(r, t, manifold=manifold).double()
        torch.testing.assert_close(decoder.probability(x, y), expected)
        torch.testing.assert_close(decoder(x, y), expected.logit())


def test_fermi_dirac_is_safe_where_the_exponential_overflows():
    d2 = torch.tensor([0.0, 196.0, 1e4], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(fermi_dirac_logit(d2), torch.ones(3))
    loss.backward()
    assert loss.isfinite()
    assert d2.grad.isfinite().all()
    assert (d2.grad > 0).all()


def test_fermi_dirac_of_equal_points_has_zero_gradient():
    x = points(Lorentz(), 4, 3, dtype=torch.float32).requires_grad_()
    FermiDirac(manifold=Lorentz())(x, x.detach()).sum().backward()
    torch.testing.assert_close(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("c", CURVATURES)
def test_lorentz_score_is_two_over_c_plus_twice_the_product(c):
    manifold = Lorentz(c).double()
    x, y = points(manifold, 5, 4), points(manifold, 5, 4, seed=1)
    score = LorentzScore(manifold=manifold).double()
    torch.testing.assert_close(score(x, y), 2 / c + 2 * manifold.inner(None, x, y))
    torch.testing.assert_close(score(x, x), torch.zeros(5, dtype=torch.float64))


def test_inner_product_is_the_sum_of_products():
    assert InnerProduct()(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])).tolist() == [11.0]


def test_margin_ranking_loss_is_the_loop():
    pos, neg = [3.0, 1.0, -1.0], [1.0, 1.0, 2.0]
    expected = sum(max(0.0, 0.5 - p + q) for p, q in zip(pos, neg, strict=True)) / 3
    assert float(margin_ranking_loss(torch.tensor(pos), torch.tensor(neg), 0.5)) == pytest.approx(expected)


def test_multi_margin_loss_counts_the_right_class_too():
    logits, y, m = torch.randn(6, 4), torch.tensor([0, 3, 1, 1, 2, 0]), 1.5
    expected = sum(max(0.0, m - float(row[k]) + float(v)) for row, k in zip(logits, y, strict=True) for v in row) / (
        6 * 4
    )
    assert float(multi_margin_loss(logits, y, m)) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(multi_margin_loss(logits, y, m), F.multi_margin_loss(logits, y, margin=m) + m / 4)


def test_multi_margin_loss_weighs_classes_as_often_as_repeated_nodes_would():
    logits, y = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    times = torch.tensor([1, 3, 2])
    repeated = [i for i, k in enumerate(y.tolist()) for _ in range(times[k])]
    expected = multi_margin_loss(logits[repeated], y[repeated], 0.7)
    torch.testing.assert_close(multi_margin_loss(logits, y, 0.7, times.float()), expected)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`neg` must have the shape of `pos`, \(3,\), one partner each, got \(2,\)"):
        margin_ranking_loss(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match=r"shapes \(n, K\) and \(n,\), got \(3, 2\) and \(2,\)"):
        multi_margin_loss(torch.zeros(3, 2), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"`t` must be positive, got 0\.0"):
        FermiDirac(t=0.0)
