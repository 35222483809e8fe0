"""Gradients by finite differences, and at the points where the textbook formulas have none."""

import math

import pytest
import torch
from manifold_cases import DIM, DTYPES, MODELS, Case, doubles

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare, poincare_to_lorentz

VERBS = (
    "expmap0", "logmap0", "expmap", "logmap", "dist", "dist0", "dist2", "inner", "transp", "transp0", "transp0back",
    "projx", "proju", "egrad2rgrad", "midpoint",
)  # fmt: skip


def intrinsic(case, name):
    """A verb as a function of log c and intrinsic coordinates, so that time and curvature follow."""

    def function(log_c, a, b, v):
        m = case.manifold
        del m.fixed_c
        m.log_c = log_c
        x, y = m.expmap0(lift(a)), m.expmap0(lift(b))
        u = m.transp0(x, lift(v))
        arguments = {
            "expmap0": (lift(a),), "logmap0": (x,), "expmap": (x, u), "logmap": (x, y), "dist": (x, y), "dist0": (x,),
            "dist2": (x, y), "inner": (x, u, m.logmap(x, y)), "transp": (x, y, u), "transp0": (y, lift(v)),
            "transp0back": (x, u), "projx": (1.5 * x,), "proju": (x, y), "egrad2rgrad": (x, y), "midpoint": (x,),
        }  # fmt: skip
        return getattr(m, name)(*arguments[name])

    def lift(s):
        return torch.cat((torch.zeros_like(s[..., :1]), s), dim=-1) if case.model == "lorentz" else s

    return function


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("case", doubles(), ids=str)
def test_gradients_agree_with_finite_differences(case, name):
    # Finite differences need numbers of order one, so lengths go in and out in units of 1/√c.
    function, unit = intrinsic(case, name), 1 / math.sqrt(case.c)
    power = 2 if name in ("dist2", "inner") else 1
    lengths = [(case.normal(seed, 0.5)[:2] / unit).requires_grad_() for seed in range(3)]
    log_c = torch.nn.Parameter(torch.tensor(math.log(case.c), dtype=torch.float64))
    assert torch.autograd.gradcheck(
        lambda log_c, *lengths: function(log_c, *(a * unit for a in lengths)) / unit**power, (log_c, *lengths)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_distance_has_zero_gradient_where_the_points_meet(model, dtype):
    case = Case(model, dtype)
    for point in (case.point(0), case.origin()):
        x, y = point.clone().requires_grad_(), point.clone().requires_grad_()
        value = case.manifold.dist(x, y)
        value.sum().backward()
        assert (value == 0).all()
        assert (x.grad == 0).all()
        assert (y.grad == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_distance_from_the_origin_has_zero_gradient_there(model, dtype):
    case = Case(model, dtype)
    x = case.origin().requires_grad_()
    case.manifold.dist0(x).sum().backward()
    assert (x.grad == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_exp_and_log_at_the_origin_have_the_identity_as_derivative(model, dtype):
    """A zero bias read through ``logmap0`` must move: geoopt's ball has a zero gradient here in float32."""
    case = Case(model, dtype, shape=())
    m = case.manifold
    origin = case.origin()
    identity = torch.eye(DIM, dtype=dtype)
    for verb in (m.expmap0, m.logmap0):
        start = torch.zeros_like(origin) if verb == m.expmap0 else origin
        jacobian = torch.autograd.functional.jacobian(verb, start)
        torch.testing.assert_close(jacobian[-DIM:, -DIM:], identity, rtol=0, atol=2 * case.eps)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-12, 1e-7, 1e-6, 1e-4, 1e-2, 1.0, 6.9, 7.0, 7.1, 15.0, 100.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_finite_from_the_origin_to_beyond_the_cap(model, dtype, size):
    case = Case(model, dtype, shape=(4,))
    m = case.manifold
    direction = case.at_origin(0)
    v = (size * direction / m.inner(case.origin(), direction, keepdim=True).sqrt()).requires_grad_()
    x = m.expmap0(v)
    near = m.expmap(x, m.transp0(x, 1e-3 * case.at_origin(1)))
    for y in (case.origin(), x, x.detach(), near, case.point(2)):
        u = m.logmap(x, y)
        total = (
            m.dist(x, y).sum() + u.sum() + m.expmap(x, u).sum() + m.transp(x, y, u).sum() + m.dist0(y).sum()
            + m.logmap0(y).sum() + m.transp0(x, v).sum() + m.transp0back(x, u).sum() + m.projx(y).sum()
            + m.midpoint(torch.stack((x, y), -2)).sum() + m.inner(x, u).sum()
        )  # fmt: skip
        (gradient,) = torch.autograd.grad(total, v, retain_graph=True)
        assert total.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_beyond_the_cap_only_the_direction_counts(model, dtype):
    case = Case(model, dtype, c=4.0, shape=(4,))
    m = case.manifold
    cap = (7.0 if dtype == torch.float32 else 15.0) / math.sqrt(case.c)
    v = (1000 * case.at_origin(0)).requires_grad_()
    x = m.expmap0(v)
    # Near the border of the ball, a rounding of the norm moves the radius by eps·cosh²(radius/2).
    rtol = case.eps * (math.cosh(cap * math.sqrt(case.c)) if model == "poincare" else 4)
    torch.testing.assert_close(m.dist0(x), torch.full((4,), cap, dtype=dtype), rtol=rtol, atol=0)
    (radial,) = torch.autograd.grad(m.dist0(x).sum(), v, retain_graph=True)
    (other,) = torch.autograd.grad(x[..., -1].sum(), v)
    assert radial.isfinite().all()
    # No derivative along v, a derivative across it.
    along = (other * v).sum(-1) / other.norm(dim=-1) / v.norm(dim=-1)
    assert (along.abs() < 1e-4).all()
    assert (other.norm(dim=-1) > 0).all()


@pytest.mark.parametrize("convert", [lorentz_to_poincare, poincare_to_lorentz])
def test_isometries_have_the_right_gradients(convert):
    case = Case("lorentz" if convert is lorentz_to_poincare else "poincare")
    x = case.point(0).requires_grad_()
    c = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(convert, (x, c))


@pytest.mark.parametrize("manifold", [Lorentz(learnable=True), PoincareBall(learnable=True)])
def test_the_curvature_receives_a_gradient(manifold):
    v = torch.tensor([[0.0, 0.5, 0.2, 0.1], [0.0, -0.4, 0.3, 0.9]])
    x, y = manifold.expmap0(v)
    manifold.dist(x, y).backward()
    assert manifold.log_c.grad.isfinite()
    assert manifold.log_c.grad != 0
