"""The κ-stereographic family: the ball, the plane and the sphere, and no seam between them."""

from __future__ import annotations

import copy
import math

import geoopt
import mpmath
import pytest
import torch

from hypersst.manifolds import PoincareBall
from hypersst.manifolds.stereographic import Stereographic
from hypersst.manifolds.stereographic_math import from_sphere, to_sphere
from hypersst.manifolds.stereographic_trig import asin_ratio, atan_ratio, tan_ratio

KAPPAS = (-2.0, -0.5, -1e-7, 0.0, 1e-7, 0.5, 2.0)


def normal(*shape, seed=0, size=0.2, dtype=torch.float64):
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def space(k, **options):
    return Stereographic(torch.tensor(k, dtype=torch.float64), **options)


@pytest.mark.parametrize("k", KAPPAS)
def test_exponential_map_and_logarithm_invert_each_other(k):
    m = space(k)
    x, u = normal(5, 3), normal(5, 3, seed=1)
    torch.testing.assert_close(m.logmap0(m.expmap0(u)), u)
    torch.testing.assert_close(m.logmap(x, m.expmap(x, u)), u)
    torch.testing.assert_close(m.expmap(torch.zeros_like(u), u / 1), m.expmap0(u))


@pytest.mark.parametrize("k", KAPPAS)
def test_distance_is_a_symmetric_norm_of_the_logarithm(k):
    m = space(k)
    x, y = normal(5, 3), normal(5, 3, seed=1)
    d = m.dist(x, y)
    torch.testing.assert_close(d, m.dist(y, x))
    torch.testing.assert_close(d, m.norm(x, m.logmap(x, y)))
    torch.testing.assert_close(m.dist0(x), m.dist(torch.zeros_like(x), x))
    torch.testing.assert_close(m.dist0(m.expmap0(x)), 2 * x.norm(dim=-1))


@pytest.mark.parametrize("k", KAPPAS)
def test_transport_keeps_inner_products_and_goes_back(k):
    m = space(k)
    x, y, u, v = (normal(5, 3, seed=s) for s in range(4))
    there = m.transp(x, y, u), m.transp(x, y, v)
    torch.testing.assert_close(m.inner(y, *there), m.inner(x, u, v))
    torch.testing.assert_close(m.transp(y, x, there[0]), u)
    torch.testing.assert_close(m.transp(x, y, m.logmap(x, y)), -m.logmap(y, x))
    torch.testing.assert_close(m.transp0(y, u), m.transp(torch.zeros_like(y), y, u))
    torch.testing.assert_close(m.transp0back(y, m.transp0(y, u)), u)


@pytest.mark.parametrize("k", KAPPAS)
def test_addition_translates_and_cancels(k):
    m = space(k)
    x, y, z = (normal(5, 3, seed=s) for s in range(3))
    torch.testing.assert_close(m.mobius_add(-x, m.mobius_add(x, y)), y)
    torch.testing.assert_close(m.dist(m.mobius_add(z, x), m.mobius_add(z, y)), m.dist(x, y))
    torch.testing.assert_close(m.mobius_add(x, x), m.mobius_scalar_mul(2.0, x))


@pytest.mark.parametrize("c", [0.25, 1.0, 2.5])
def test_negative_curvature_is_the_poincare_ball(c):
    m, ball = space(-c), PoincareBall(c).double()
    x, y, u = (normal(5, 3, seed=s) for s in range(3))
    weight = torch.rand(5, dtype=torch.float64)
    for verb, found in {
        "expmap0": (u,), "logmap0": (x,), "expmap": (x, u), "logmap": (x, y), "dist": (x, y), "dist0": (x,),
        "transp": (x, y, u), "mobius_add": (x, y), "inner": (x, u, y), "egrad2rgrad": (x, u), "midpoint": (x, weight),
        "projx": (20 * x,), "lambda_x": (x,), "mobius_matvec": (torch.ones(2, 3, dtype=torch.float64), x),
    }.items():  # fmt: skip
        torch.testing.assert_close(getattr(m, verb)(*found), getattr(ball, verb)(*found))


@pytest.mark.parametrize("k", [0.25, 1.0, 2.5])
def test_positive_curvature_is_the_sphere_in_one_more_dimension(k):
    m = space(k)
    x, y = normal(5, 3, size=0.8), normal(5, 3, seed=1, size=0.8)

    def lift(x):  # the point of radius 1/√k under x
        s = to_sphere(x, m.k)
        return torch.cat((s[..., :1] / k**0.5, s[..., 1:]), dim=-1)

    torch.testing.assert_close(lift(x).norm(dim=-1), torch.full((5,), k**-0.5, dtype=torch.float64))
    angle = (k * (lift(x) * lift(y)).sum(-1)).acos()
    torch.testing.assert_close(m.dist(x, y), angle / k**0.5)
    torch.testing.assert_close(from_sphere(7.0 * to_sphere(x, m.k), m.k), x)
    mean = lift(x).sum(0)
    torch.testing.assert_close(lift(m.midpoint(x)), mean / mean.norm() / k**0.5)


def test_curvature_zero_is_euclidean_space_with_doubled_lengths():
    m = space(0.0)
    x, y, u = (normal(5, 3, seed=s) for s in range(3))
    weight = torch.rand(5, dtype=torch.float64)
    torch.testing.assert_close(m.expmap(x, u), x + u, rtol=0, atol=1e-16)
    torch.testing.assert_close(m.dist(x, y), 2 * (x - y).norm(dim=-1))
    torch.testing.assert_close(m.transp(x, y, u), u)
    torch.testing.assert_close(m.midpoint(x, weight), (weight @ x) / weight.sum())
    assert torch.equal(m.projx(1e6 * x), 1e6 * x)


@pytest.mark.parametrize("k", [-1.0, 0.0, 0.7])
def test_midpoint_is_the_formula_of_the_paper(k):
    # ½ ⊗ Σ w λ x / Σ w (λ − 1), one number after the other, in the hemisphere that the formula knows.
    m = space(k)
    x, weight = normal(4, 3), torch.rand(4, dtype=torch.float64)
    top, bottom = torch.zeros(3, dtype=torch.float64), 0.0
    for w, row in zip(weight.tolist(), x, strict=True):
        lam = 2 / (1 + k * float(row @ row))
        top, bottom = top + w * lam * row, bottom + w * (lam - 1)
    torch.testing.assert_close(m.midpoint(x, weight), m.mobius_scalar_mul(0.5, top / bottom, project=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["tan", "atan", "asin"])
def test_trigonometry_equals_multiple_precision_through_zero(name, dtype):
    ours = {"tan": tan_ratio, "atan": atan_ratio, "asin": asin_ratio}[name]
    circular = {"tan": mpmath.tan, "atan": mpmath.atan, "asin": mpmath.asin}[name]
    grid = [s * z for z in (1e-30, 1e-12, 1e-7, 1e-4, 0.0199, 0.0201, 0.1, 0.6) for s in (-1, 1)] + [0.0]
    z = torch.tensor(grid, dtype=dtype, requires_grad=True)
    value = ours(z)
    (slope,) = torch.autograd.grad(value.sum(), z)

    with mpmath.workdps(60):

        def f(t):
            return (circular(mpmath.sqrt(t)) / mpmath.sqrt(t)).real if t else mpmath.mpf(1)

        expected = [float(f(mpmath.mpf(t))) for t in z.tolist()]
        # A central difference in 60 digits, so that it holds at 0 too.
        h = mpmath.mpf(10) ** -20
        slopes = [float((f(mpmath.mpf(t) + h) - f(mpmath.mpf(t) - h)) / (2 * h)) for t in z.tolist()]
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(value, torch.tensor(expected, dtype=dtype), rtol=4 * eps, atol=0)
    torch.testing.assert_close(slope, torch.tensor(slopes, dtype=dtype), rtol=300 * eps, atol=0)


@pytest.mark.parametrize("k", [-1e-4, -1e-8, 0.0, 1e-8, 1e-4])
def test_float32_is_right_to_rounding_near_curvature_zero(k):
    x, y, u = (normal(20, 3, seed=s, dtype=torch.float32) for s in range(3))
    single, double = Stereographic(torch.tensor(k)), Stereographic(torch.tensor(k).double())
    for verb, found in {"dist": (x, y), "expmap": (x, u), "logmap": (x, y), "mobius_add": (x, y)}.items():
        expected = getattr(double, verb)(*(t.double() for t in found))
        torch.testing.assert_close(getattr(single, verb)(*found).double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("k", [-0.3, -1e-3, 0.0, 1e-3, 0.3])
def test_gradients_agree_with_finite_differences_for_curvature_too(k):
    x, y, u = (normal(2, 3, seed=s).requires_grad_() for s in range(3))
    kappa = torch.tensor(k, dtype=torch.float64, requires_grad=True)

    def call(kappa, x, y, u):
        m = Stereographic(0.0)
        m.k = kappa  # a buffer may be any tensor
        return m.dist(x, y), m.expmap(x, u), m.logmap(x, y), m.transp(x, y, u), m.midpoint(x), m.dist0(m.expmap0(u))

    assert torch.autograd.gradcheck(call, (kappa, x, y, u))


def test_a_learnable_curvature_goes_through_zero():
    # Points whose pairwise distances are those of a sphere, seen first as a hyperbolic space.
    m, sphere = Stereographic(torch.tensor(-0.5), learnable=True), Stereographic(torch.tensor(0.5))
    x, y = normal(30, 2, size=0.4, dtype=torch.float32), normal(30, 2, seed=1, size=0.4, dtype=torch.float32)
    target = sphere.dist(x, y)
    optimizer = torch.optim.Adam(m.parameters(), lr=0.02)
    trace = []
    for _ in range(200):
        optimizer.zero_grad()
        (m.dist(x, y) - target).square().mean().backward()
        optimizer.step()
        trace.append(float(m.k.detach()))
    assert all(math.isfinite(k) for k in trace)
    assert trace[0] < 0 < trace[-1]
    assert abs(trace[-1] - 0.5) < 0.02


@pytest.mark.parametrize("k", [-1.0, 0.0, 1.0])
def test_results_are_finite_far_away_and_at_coincident_points(k):
    m = Stereographic(torch.tensor(k), learnable=True)
    far = (1e20 * normal(4, 3, dtype=torch.float32)).requires_grad_()
    near = normal(4, 3, dtype=torch.float32).requires_grad_()
    zero = torch.zeros(4, 3, requires_grad=True)
    for x in (near, zero):
        for value in (m.expmap0(far), m.dist(x, x), m.logmap(x, x), m.projx(far), m.logmap0(zero), m.mobius_add(x, -x)):
            assert value.isfinite().all()
            grads = torch.autograd.grad(value.sum(), (far, near, zero), allow_unused=True)
            assert all(g.isfinite().all() for g in grads if g is not None)


def test_geoopt_takes_its_points_and_steps_them():
    m = Stereographic(0.4)
    parameter = geoopt.ManifoldParameter(m.random_normal(6, 3), manifold=m)
    target = m.random_normal(6, 3).detach()
    optimizer = geoopt.optim.RiemannianAdam([parameter], lr=0.1)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = m.dist2(parameter, target).sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    assert isinstance(m, geoopt.Stereographic)


def test_every_verb_compiles_into_one_graph():
    m = Stereographic(0.3, learnable=True)
    x, y, u = (normal(4, 3, seed=s, dtype=torch.float32) for s in range(3))

    def verbs(x, y, u):
        found = (m.expmap0(u), m.logmap0(x), m.expmap(x, u), m.logmap(x, y), m.dist(x, y), m.dist0(x), m.projx(x))
        return *found, m.transp(x, y, u), m.mobius_add(x, y), m.midpoint(x), m.inner(x, u), m.retr(x, u)

    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(verbs, fullgraph=True, backend="eager")(x, y, u), verbs(x, y, u))


def test_half_precision_is_computed_in_float32_and_copies_keep_the_curvature():
    m = Stereographic(-0.5, learnable=True)
    assert m.bfloat16().expmap0(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
    twin = copy.deepcopy(m)
    assert twin.learnable and float(twin.k.detach()) == -0.5
    assert repr(m).startswith("Stereographic(k=-0.5, learnable=True)")
    assert "k" in Stereographic(0.25).state_dict() and not list(Stereographic(0.25).parameters())


@pytest.mark.parametrize("k", [math.inf, math.nan, torch.ones(2)])
def test_what_is_no_curvature_is_refused(k):
    with pytest.raises(ValueError, match="`k` must be one finite number, the sectional curvature, got"):
        Stereographic(k)
