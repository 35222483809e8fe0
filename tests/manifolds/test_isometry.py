"""Hyperboloid and ball are one space: every construction agrees under the isometry."""

import math

import pytest
import torch
from manifold_cases import CURVATURES, DTYPES, Case

from hypersst.manifolds import lorentz_to_poincare, poincare_to_lorentz

each_precision = pytest.mark.parametrize("dtype", DTYPES)
each_curvature = pytest.mark.parametrize("c", CURVATURES)


@pytest.fixture
def pair(dtype, c):
    return Case("lorentz", dtype, c), Case("poincare", dtype, c)


def close(a, b, case, factor):
    scale = max(float(b.abs().max()), 1 / math.sqrt(case.c))
    torch.testing.assert_close(a, b, rtol=0, atol=factor * case.eps * scale)


@each_precision
@each_curvature
def test_there_and_back_is_the_identity(pair, c):
    lorentz, ball = pair
    x, y = lorentz.point(0), ball.point(0)
    close(poincare_to_lorentz(lorentz_to_poincare(x, c), c), x, lorentz, 8 * lorentz.stretch(x))
    close(lorentz_to_poincare(poincare_to_lorentz(y, c), c), y, ball, 8)
    assert lorentz.manifold._check_point_on_manifold(poincare_to_lorentz(y, c))[0]


@each_precision
@each_curvature
def test_distances_agree(pair, c):
    lorentz, ball = pair
    x, y = lorentz.point(0), lorentz.point(1)
    bx, by = lorentz_to_poincare(x, c), lorentz_to_poincare(y, c)
    stretch = lorentz.stretch(x, y)
    torch.testing.assert_close(
        ball.manifold.dist(bx, by), lorentz.manifold.dist(x, y), rtol=8 * ball.eps * stretch, atol=0
    )
    torch.testing.assert_close(ball.manifold.dist0(bx), lorentz.manifold.dist0(x), rtol=8 * ball.eps * stretch, atol=0)


@each_precision
@each_curvature
def test_the_exponential_map_of_half_the_vector_is_the_image(pair, c):
    lorentz, ball = pair
    v = lorentz.normal(0)
    image = lorentz_to_poincare(lorentz.manifold.expmap0_space(v), c)
    close(ball.manifold.expmap0(0.5 * v), image, ball, 8)
    # Without the half it lands twice as far: the factor 2 that papers disagree about.
    assert ball.manifold.dist0(ball.manifold.expmap0(0.1 * v)).allclose(0.2 * v.norm(dim=-1), rtol=1e-5)


@each_precision
@each_curvature
def test_exponential_maps_transports_and_logs_agree(pair, c):
    lorentz, ball = pair
    x, y = lorentz.point(0), lorentz.point(1)
    bx, by = lorentz_to_poincare(x, c), lorentz_to_poincare(y, c)
    u, bu = lorentz.manifold.logmap(x, y), ball.manifold.logmap(bx, by)
    stretch = lorentz.stretch(x, y)

    def image(at, vector):
        """The differential of the isometry, (1/γ)(v_s − √c v_0 x_s/γ) with γ = 1 + √c x_0."""
        gamma = 1 + math.sqrt(c) * at[..., :1]
        return (vector[..., 1:] - math.sqrt(c) * vector[..., :1] * at[..., 1:] / gamma) / gamma

    close(bu, image(x, u), ball, 16 * stretch)
    v = lorentz.tangent(x, 2)
    moved = ball.manifold.transp(bx, by, image(x, v))
    close(moved, image(y, lorentz.manifold.transp(x, y, v)), ball, 16 * stretch)
    end = ball.manifold.expmap(bx, image(x, v))
    close(end, lorentz_to_poincare(lorentz.manifold.expmap(x, v), c), ball, 64 * stretch)
    size = ball.manifold.norm(bx, image(x, v))
    torch.testing.assert_close(size, lorentz.manifold.inner(x, v).sqrt(), rtol=16 * ball.eps * stretch, atol=0)


@each_precision
@each_curvature
def test_the_centroid_is_the_gyromidpoint(pair, c):
    lorentz, ball = pair
    x = lorentz.point(0)
    weight = torch.tensor([0.2, 1.0, 3.0, 0.0, 0.5], dtype=lorentz.dtype)
    for w in (None, weight):
        centroid = lorentz_to_poincare(lorentz.manifold.centroid(x, w), c)
        bx = lorentz_to_poincare(x, c)
        close(ball.manifold.midpoint(bx, w), centroid, ball, 16 * lorentz.stretch(x))
        # The Einstein midpoint, in Klein coordinates: a third formula for the same point.
        weights = torch.ones_like(weight) if w is None else w
        einstein = (weights[:, None] * x[:, 1:]).sum(0) / (weights[:, None] * x[:, :1]).sum(0) / math.sqrt(c)
        klein = lorentz.manifold.centroid(x, w)
        close(klein[1:] / klein[:1] / math.sqrt(c), einstein, lorentz, 16)


def test_the_centroid_minimises_squared_lorentzian_distances():
    case = Case("lorentz", c=0.7)
    m, x = case.manifold, case.point(0)
    weight = torch.tensor([0.2, 1.0, 3.0, 0.0, 0.5], dtype=torch.float64)
    p = m.centroid(x, weight).requires_grad_()
    (weight * m.sqdist(x, p)).sum().backward()
    assert m.inner(p, m.egrad2rgrad(p, p.grad)).sqrt() < 1e-13
    nearby = m.expmap(p.detach(), 0.01 * m.proju(p.detach(), torch.ones_like(p)))
    assert (weight * m.sqdist(x, nearby)).sum() > (weight * m.sqdist(x, p)).sum()


def test_midpoint_of_two_points_is_half_way():
    for model in ("lorentz", "poincare"):
        case = Case(model, shape=(2,))
        x = case.point(0)
        half = case.manifold.expmap(x[0], 0.5 * case.manifold.logmap(x[0], x[1]))
        torch.testing.assert_close(case.manifold.midpoint(x), half)


def test_centroids_of_batches_broadcast():
    case = Case("lorentz", shape=(4, 6))
    m, x = case.manifold, case.point(0)
    weight = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = torch.stack([m.centroid(x[i], weight[i]) for i in range(4)])
    torch.testing.assert_close(m.centroid(x, weight), rows)
    # Only ratios of weights count.
    torch.testing.assert_close(m.centroid(x, 7 * weight), rows)


def test_squared_lorentzian_distance_is_the_formula():
    case = Case("lorentz", c=0.7)
    m, x, y = case.manifold, case.point(0), case.point(1)
    product = m.inner(None, x, y)
    torch.testing.assert_close(m.sqdist(x, y), -2 / m.c - 2 * product)
    torch.testing.assert_close(m.sqdist(x, y), 4 / m.c * torch.sinh(0.5 * m.c.sqrt() * m.dist(x, y)) ** 2)


def test_normalize_scales_a_time_like_vector_onto_the_hyperboloid():
    case = Case("lorentz", c=0.7)
    m, x = case.manifold, case.point(0)
    scale = torch.tensor([[1e-6], [0.1], [1.0], [7.0], [1e6]], dtype=torch.float64)
    torch.testing.assert_close(m.normalize(scale * x), x)
    zero = torch.zeros(4, requires_grad=True)
    m.normalize(zero).sum().backward()
    assert zero.grad.isfinite().all()


@pytest.mark.parametrize("radius", [1.0, 5.0, 6.9])
@pytest.mark.parametrize("model", ["lorentz", "poincare"])
def test_midpoints_far_out_are_right_to_a_rounding_of_the_point(model, radius):
    single, double = Case(model, torch.float32, shape=(50, 2)), Case(model, torch.float64, shape=(50, 2))
    direction = double.at_origin(0)[:, :1]
    size = double.manifold.dist0(double.manifold.expmap0(direction)).unsqueeze(-1)
    x = double.manifold.expmap0(radius * direction / size)
    y = double.manifold.expmap(x, 0.05 * double.manifold.transp0(x, double.at_origin(1)[:, :1]))
    points = single.manifold.projx(torch.cat((x, y), dim=1).float())
    exact = double.manifold.midpoint(double.manifold.projx(points.double()))
    found = single.manifold.midpoint(points)
    error = double.manifold.dist(double.manifold.projx(found.double()), exact)
    assert error.max() <= 8 * single.eps * math.cosh(radius)
