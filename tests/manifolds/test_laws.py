"""What holds for every Riemannian manifold, over models × precisions × curvatures × batch shapes."""

import math

import pytest
import torch
from manifold_cases import Case, cases

from hypersst.manifolds.stable import dot

ALL = cases()
each_case = pytest.mark.parametrize("case", ALL, ids=str)


def close(a, b, case, factor, size=1.0):
    """|a − b| ≤ factor · eps · size · largest entry (1/√c if that is larger)."""
    scale = max(float(b.abs().max()) if b.numel() else 0.0, 1 / math.sqrt(case.c))
    assert a.shape == b.shape
    torch.testing.assert_close(a, b, rtol=0, atol=factor * case.eps * size * scale)


def relative(a, b, case, factor, size=1.0):
    assert a.shape == b.shape
    torch.testing.assert_close(a, b, rtol=factor * case.eps * size, atol=0)


def length(case, x, u):
    return case.manifold.inner(x, u).sqrt()


@each_case
def test_exp_inverts_log(case):
    m, x, y = case.manifold, case.point(0), case.point(1)
    end = m.expmap(x, m.logmap(x, y))
    # A stored tangent vector is off by eps·cosh(radius) in direction, its end by sinh(distance) times that.
    reach = float(m.dist(x, y).max()) * math.sqrt(case.c)
    bound = 8 * case.eps * case.stretch(x, y) * (1 + math.sinh(reach)) / math.sqrt(case.c)
    assert (m.dist(end, y) <= bound).all()


@each_case
def test_log_inverts_exp(case):
    m, x = case.manifold, case.point(0)
    u = case.tangent(x, 1)
    difference = m.logmap(x, m.expmap(x, u)) - u
    bound = 8 * case.eps * case.stretch(x, m.expmap(x, u)) / math.sqrt(case.c)
    assert (length(case, x, difference) <= bound * (1 + length(case, x, u) * math.sqrt(case.c))).all()


@each_case
def test_exp_and_log_at_the_origin_are_those_of_the_origin(case):
    m, o, u, y = case.manifold, case.origin(), case.at_origin(0), case.point(1)
    close(m.expmap0(u), m.expmap(o, u), case, 8, case.stretch(m.expmap0(u)))
    close(m.logmap0(y), m.logmap(o, y), case, 8)
    close(m.logmap0(m.expmap0(u)), u, case, 8)
    relative(m.dist0(y), m.dist(o, y), case, 8)


@each_case
def test_distance_is_symmetric_and_zero_on_the_diagonal(case):
    m, x, y = case.manifold, case.point(0), case.point(1)
    # The chord is computed in the frame of its first point.
    relative(m.dist(x, y), m.dist(y, x), case, 2, case.stretch(x, y))
    assert (m.dist(x, x) == 0).all()


@each_case
def test_distance_is_the_norm_of_the_log(case):
    m, x, y = case.manifold, case.point(0), case.point(1)
    relative(length(case, x, m.logmap(x, y)), m.dist(x, y), case, 8, case.stretch(x, y))
    relative(m.dist2(x, y), m.dist(x, y) ** 2, case, 4)


@each_case
def test_distance_obeys_the_triangle_inequality(case):
    m, x, y, z = case.manifold, case.point(0), case.point(1), case.point(2)
    assert (m.dist(x, z) <= (m.dist(x, y) + m.dist(y, z)) * (1 + 8 * case.eps)).all()


@each_case
def test_a_log_is_half_way_at_half_its_length(case):
    m, x, y = case.manifold, case.point(0, 0.5), case.point(1, 0.5)
    middle = m.expmap(x, 0.5 * m.logmap(x, y))
    bound = 32 * case.stretch(x, y)
    relative(m.dist(x, middle), 0.5 * m.dist(x, y), case, bound)
    relative(m.dist(middle, y), 0.5 * m.dist(x, y), case, bound)


@each_case
def test_projection_is_idempotent_and_leaves_points_alone(case):
    m, x = case.manifold, case.point(0)
    close(m.projx(x), x, case, 4)
    once = m.projx(x + 0.1)
    close(m.projx(once), once, case, 4)
    u = m.proju(x, case.normal(1).new_ones(x.shape))
    close(m.proju(x, u), u, case, 8, case.stretch(x) ** 2)


@each_case
def test_maps_end_on_the_manifold_and_tangents_are_tangent(case):
    m, x, y = case.manifold, case.point(0), case.point(1)
    v = case.tangent(x, 2)
    tolerance = {"atol": 8 * case.eps / math.sqrt(case.c), "rtol": 8 * case.eps}
    points = {
        "expmap0": m.expmap0(case.at_origin(3)),
        "expmap": m.expmap(x, v),
        "retr": m.retr(x, v),
        "projx": m.projx(2 * x),
    }
    for name, point in points.items():
        assert m._check_point_on_manifold(point, **tolerance) == (True, None), name
    vectors = {
        "logmap": (x, m.logmap(x, y)),
        "transp": (y, m.transp(x, y, v)),
        "transp0": (y, m.transp0(y, case.at_origin(3))),
        "proju": (x, m.proju(x, torch.ones_like(x))),
        "egrad2rgrad": (x, m.egrad2rgrad(x, torch.ones_like(x))),
        "retr_transp": (m.retr(x, v), m.retr_transp(x, v, v)[1]),
    }
    for name, (at, vector) in vectors.items():
        scaled = vector / vector.abs().max().clamp_min(1 / math.sqrt(case.c))
        assert m._check_vector_on_tangent(at, scaled, **tolerance) == (True, None), name


@each_case
def test_transport_preserves_inner_products(case):
    m, x, y = case.manifold, case.point(0), case.point(1)
    u, v = case.tangent(x, 2), case.tangent(x, 3)
    before = m.inner(x, u, v)
    after = m.inner(y, m.transp(x, y, u), m.transp(x, y, v))
    size = length(case, x, u) * length(case, x, v)
    assert ((after - before).abs() <= 16 * case.eps * case.stretch(x, y) * size).all()


@each_case
def test_transport_there_and_back_is_the_identity(case):
    m, x, y = case.manifold, case.point(0), case.point(1)
    v = case.tangent(x, 2)
    difference = m.transp(y, x, m.transp(x, y, v)) - v
    # Two transports over up to 5 units; the first result is rounded as a stored tangent vector.
    assert (length(case, x, difference) <= 64 * case.eps * case.stretch(x, y) * length(case, x, v)).all()


@each_case
def test_transport_takes_the_velocity_of_a_geodesic_along(case):
    m, x, y = case.manifold, case.point(0), case.point(1)
    difference = m.transp(x, y, m.logmap(x, y)) + m.logmap(y, x)
    assert (length(case, y, difference) <= 16 * case.eps * case.stretch(x, y) * m.dist(x, y)).all()


@each_case
def test_transport_at_the_origin_is_that_of_the_origin(case):
    m, o, x = case.manifold, case.origin(), case.point(0)
    u = case.at_origin(1)
    v = m.transp0(x, u)
    close(v, m.transp(o, x, u), case, 8, case.stretch(x))
    close(m.transp0back(x, v), u, case, 8, case.stretch(x))
    close(m.transp0back(x, v), m.transp(x, o, v), case, 8, case.stretch(x) ** 2)


@each_case
def test_retraction_with_transport_is_both(case):
    m, x = case.manifold, case.point(0)
    u, v = case.tangent(x, 1, 0.1), case.tangent(x, 2)
    y, w = m.retr_transp(x, u, v)
    close(y, m.retr(x, u), case, 1)
    close(w, m.transp(x, y, v), case, 1)


@each_case
def test_riemannian_gradient_represents_the_derivative(case):
    m, x = case.manifold, case.point(0)
    gradient = torch.randn(x.shape, dtype=case.dtype, generator=torch.Generator().manual_seed(4))
    kept = gradient.clone()
    v = case.tangent(x, 1)
    represented = m.inner(x, m.egrad2rgrad(x, gradient), v)
    derivative = dot(gradient, v, keepdim=False)
    size = gradient.norm(dim=-1) * v.norm(dim=-1)
    assert ((represented - derivative).abs() <= 16 * case.eps * case.stretch(x) ** 2 * size).all()
    assert torch.equal(gradient, kept)


@each_case
def test_squared_norm_of_a_tangent_vector_is_positive(case):
    m, x = case.manifold, case.point(0, 2.0)
    v = case.tangent(x, 1, 1e-3)
    assert (m.inner(x, v) > 0).all()
    close(m.inner(x, v), m.inner(x, v, v), case, 4)
    assert m.inner(x, v, keepdim=True).shape == (*case.shape, 1)
    assert m.component_inner(x, v).shape == (*case.shape, 1)


@each_case
def test_a_batch_equals_a_loop(case):
    batch = Case(case.model, case.dtype, case.c, (4,))
    m, x, y = batch.manifold, batch.point(0), batch.point(1)
    u, o = batch.tangent(x, 2), batch.at_origin(3)
    calls = {
        "expmap0": (o,),
        "logmap0": (x,),
        "expmap": (x, u),
        "logmap": (x, y),
        "dist": (x, y),
        "dist0": (x,),
        "inner": (x, u),
        "transp": (x, y, u),
        "transp0": (y, o),
        "transp0back": (x, u),
        "projx": (x,),
        "proju": (x, y),
        "egrad2rgrad": (x, y),
    }
    for name, arguments in calls.items():
        verb = getattr(m, name)
        loop = torch.stack([verb(*(a[i] for a in arguments)) for i in range(4)])
        close(verb(*arguments), loop, batch, 8, batch.stretch(x, y) ** 2)


@pytest.mark.parametrize("model", ["lorentz", "poincare"])
def test_another_axis_of_coordinates_gives_the_same_numbers(model):
    case = Case(model, shape=(2, 5))
    m, x, y = case.manifold, case.point(0), case.point(1)
    u, o = case.tangent(x, 2), case.at_origin(3)
    calls = {
        "expmap0": (o,),
        "logmap0": (x,),
        "expmap": (x, u),
        "logmap": (x, y),
        "transp": (x, y, u),
        "transp0": (y, o),
        "transp0back": (x, u),
        "projx": (3 * x,),
        "proju": (x, y),
        "egrad2rgrad": (x, y),
    }
    for name, arguments in calls.items():
        moved = getattr(m, name)(*(a.movedim(-1, 0) for a in arguments), dim=0)
        close(moved.movedim(0, -1), getattr(m, name)(*arguments), case, 4)
    for name, arguments in {"dist": (x, y), "dist0": (x,), "inner": (x, u)}.items():
        moved = getattr(m, name)(*(a.movedim(-1, 0) for a in arguments), dim=0)
        close(moved, getattr(m, name)(*arguments), case, 8)
        kept = getattr(m, name)(*(a.movedim(-1, 0) for a in arguments), dim=0, keepdim=True)
        assert kept.shape == (1, 2, 5)


@pytest.mark.parametrize("model", ["lorentz", "poincare"])
def test_an_empty_batch_stays_empty(model):
    case = Case(model, shape=(0,))
    m, x = case.manifold, case.point(0)
    assert m.dist(x, x).shape == (0,)
    assert m.expmap(x, m.logmap(x, x)).shape == x.shape
    assert m.transp(x, x, x).shape == x.shape
