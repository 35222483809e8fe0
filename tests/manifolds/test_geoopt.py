"""geoopt's own manifolds are the slow twins, in float64 and near the origin, where their formulas are right."""

import copy
import inspect
import io

import geoopt
import pytest
import torch
from manifold_cases import MODELS, Case

from hypersst.manifolds import Lorentz, PoincareBall

# What geoopt's clamps leave of float64: its Lorentz norm is off by 1e-8 near zero, its ball's artanh by 1e-7 near one.
TOLERANCE = {"rtol": 1e-7, "atol": 1e-8}


@pytest.fixture(params=[(m, c) for m in MODELS for c in (0.5, 1.0, 2.0)], ids=lambda p: f"{p[0]}-c{p[1]}")
def twins(request):
    model, c = request.param
    case = Case(model, c=c, shape=(6,))
    value = torch.tensor(c, dtype=torch.float64)
    theirs = geoopt.Lorentz(1 / value) if model == "lorentz" else geoopt.PoincareBall(value)
    return case, case.manifold, theirs


def compare(ours, theirs, calls):
    for name, (arguments, options) in calls.items():
        verb = name.split(":")[0]
        found = getattr(ours, verb)(*arguments, **options)
        # geoopt's egrad2rgrad flips a sign of its argument in place.
        copies = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
        expected = getattr(theirs, verb)(*copies, **options)
        assert found.shape == expected.shape, name
        assert torch.allclose(found, expected, **TOLERANCE), (name, (found - expected).abs().max())


def test_every_common_verb_agrees(twins):
    case, ours, theirs = twins
    x, y = case.point(0, 0.5), case.point(1, 0.5)
    u, v, o = case.tangent(x, 2, 0.5), case.tangent(x, 3, 0.5), case.at_origin(4, 0.5)
    calls = {
        "expmap": ((x, u), {}),
        "expmap:unprojected": ((x, u), {"project": False}),
        "expmap0": ((o,), {}),
        "expmap0:unprojected": ((o,), {"project": False}),
        "logmap": ((x, y), {}),
        "logmap0": ((y,), {}),
        "dist": ((x, y), {}),
        "dist:kept": ((x, y), {"keepdim": True}),
        "dist2": ((x, y), {}),
        "dist0": ((x,), {}),
        "dist0:kept": ((x,), {"keepdim": True}),
        # Without keepdim, geoopt's ball multiplies (n, 1) by (n,).
        "inner": ((x, u, v), {"keepdim": True}),
        "inner:norm": ((x, u), {"keepdim": True}),
        "component_inner": ((x, u, v), {}),
        "transp": ((x, y, u), {}),
        "transp0": ((y, o), {}),
        "transp0back": ((x, u), {}),
        "projx": ((x,), {}),
        "proju": ((x, y), {}),
        "egrad2rgrad": ((x, y), {}),
        "retr": ((x, 0.1 * u), {}),
        "transp_follow_expmap": ((x, u, v), {}),
    }
    compare(ours, theirs, calls)
    for found, expected in zip(ours.retr_transp(x, 0.1 * u, v), theirs.retr_transp(x, 0.1 * u, v), strict=True):
        torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.parametrize("c", [0.5, 1.0, 2.0])
def test_verbs_of_the_hyperboloid_agree(c):
    case = Case("lorentz", c=c, shape=(6,))
    theirs = geoopt.Lorentz(torch.tensor(1 / c, dtype=torch.float64))
    x, u = case.point(0, 0.5), case.tangent(case.point(0, 0.5), 1, 0.5)
    unit = u / case.manifold.norm(u, keepdim=True)
    t = torch.tensor(0.7, dtype=torch.float64)
    calls = {
        "norm": ((u,), {}),
        "norm:kept": ((u,), {"keepdim": True}),
        "inner0": ((x,), {}),
        "inner0:kept": ((x,), {"keepdim": True}),
        "logmap0back": ((x,), {}),
        "inner": ((x, u, u), {}),
        "inner:ambient": ((None, x, u + 1), {}),
        "expmap:raw": ((x, u), {"norm_tan": False}),
        "geodesic_unit": ((t, x, unit), {}) if c == 1.0 else ((0 * t, x, unit), {}),
    }
    compare(case.manifold, theirs, calls)


@pytest.mark.parametrize("c", [0.5, 1.0, 2.0])
def test_verbs_of_the_ball_agree(c):
    case = Case("poincare", c=c, shape=(2, 6))
    theirs = geoopt.PoincareBall(torch.tensor(c, dtype=torch.float64))
    x, y, u = case.point(0, 0.5), case.point(1, 0.5), case.tangent(case.point(0, 0.5), 2, 0.5)
    t, w = torch.tensor(0.7, dtype=torch.float64), torch.tensor([0.2, -1.5, 0.7], dtype=torch.float64)
    m = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    signed = weights - 0.3
    calls = {
        "lambda_x": ((x,), {}),
        "lambda_x:kept": ((x,), {"keepdim": True}),
        "norm": ((x, u), {}),
        "mobius_add": ((x, y), {}),
        "mobius_add:unprojected": ((x, y), {"project": False}),
        "mobius_sub": ((x, y), {}),
        "mobius_coadd": ((x, y), {}),
        "mobius_cosub": ((x, y), {}),
        "mobius_scalar_mul": ((t, x), {}),
        "mobius_pointwise_mul": ((w, x), {}),
        "mobius_matvec": ((m, x), {}),
        "mobius_matvec:batched": ((m.expand(2, 6, 4, 3), x), {}),
        "mobius_fn_apply": ((torch.tanh, x), {}),
        "mobius_fn_apply_chain": ((x, torch.tanh, torch.sin), {}),
        "geodesic": ((t, x, y), {}),
        "geodesic_unit": ((t, x, u), {}),
        "gyration": ((x, y, u), {}),
        "dist2plane": ((x, y, u), {}),
        "dist2plane:signed": ((x, y, u), {"signed": True, "scaled": True, "keepdim": True}),
        "weighted_midpoint": ((x,), {}),
        "weighted_midpoint:weights": ((x, weights), {"reducedim": [1]}),
        "weighted_midpoint:kept": ((x, weights), {"reducedim": [0], "keepdim": True}),
        "weighted_midpoint:lincomb": ((x, weights), {"reducedim": [1], "lincomb": True}),
        "weighted_midpoint:posweight": ((x, signed), {"reducedim": [1], "posweight": True}),
    }
    compare(case.manifold, theirs, calls)


def test_a_batch_of_matrices_needs_the_last_axis():
    with pytest.raises(ValueError, match=r"`dim` must be -1 for a batch of matrices of shape \(2, 3, 3\), got 0"):
        PoincareBall().mobius_matvec(torch.ones(2, 3, 3), torch.zeros(3, 2), dim=0)


@pytest.mark.parametrize("kind", [Lorentz, PoincareBall])
def test_signatures_take_what_geoopts_take(kind):
    base = {Lorentz: geoopt.Lorentz, PoincareBall: geoopt.PoincareBall}[kind]
    for name, theirs in inspect.getmembers(base, inspect.isfunction):
        # geoopt gives inner0 a default for its one vector with which it fails.
        if name.startswith("_") or name not in vars(kind) or name == "inner0":
            continue
        ours = inspect.signature(getattr(kind, name)).parameters
        for parameter in inspect.signature(theirs).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            assert parameter.name in ours, (name, parameter.name)
            if parameter.default is not parameter.empty:
                assert ours[parameter.name].default == parameter.default, (name, parameter.name)


@pytest.mark.parametrize("model", MODELS)
def test_checks_of_points_and_vectors(model):
    case = Case(model, torch.float32)
    m, x = case.manifold, case.point(0, 2.0)
    # Far out, time is known to eps·x₀ only; geoopt's absolute 1e-5 on squares rejects its own points there.
    assert m.check_point_on_manifold(x)
    assert m.check_vector_on_tangent(x, case.tangent(x, 1))
    ok, reason = m.check_point_on_manifold(x + 10, explain=True)
    assert not ok
    assert reason
    with pytest.raises(ValueError, match="not lying on"):
        m.assert_check_point_on_manifold(x + 10)


def test_a_vector_off_the_tangent_space_is_found():
    case = Case("lorentz", torch.float32)
    ok, reason = case.manifold.check_vector_on_tangent(case.point(0), torch.ones(5, 4), explain=True)
    assert not ok
    assert "x_s·u_s/x_0" in reason


@pytest.mark.parametrize("model", MODELS)
def test_manifold_parameters_survive_copying_conversion_and_loading(model):
    case = Case(model, torch.float32)

    class Embedding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.manifold = case.manifold
            self.weight = geoopt.ManifoldParameter(case.point(0), manifold=self.manifold)

    module = Embedding()
    for other in (copy.deepcopy(module), copy.deepcopy(module).double()):
        assert isinstance(other.weight, geoopt.ManifoldParameter)
        assert other.weight.manifold.c == module.manifold.c
        assert other.manifold.check_point_on_manifold(other.weight.detach())
    assert copy.deepcopy(module).double().manifold.c.dtype == torch.float64
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    other = Embedding()
    with torch.no_grad():
        other.weight.zero_()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert isinstance(other.weight, geoopt.ManifoldParameter)
    assert torch.equal(other.weight.detach(), module.weight.detach())


@pytest.mark.parametrize("model", MODELS)
def test_origins_and_random_points_are_manifold_tensors(model):
    case = Case(model, torch.float32)
    m = case.manifold
    for point in (m.origin(2, case.coordinates), m.origin((2, case.coordinates)), m.random(2, case.coordinates)):
        assert isinstance(point, geoopt.ManifoldTensor)
        assert point.manifold is m
        assert point.shape == (2, case.coordinates)
        assert m.check_point_on_manifold(point)
    assert m.origin(case.coordinates, dtype=torch.float64).dtype == torch.float64


def test_a_scaled_manifold_scales_distances():
    for manifold in (Lorentz(), PoincareBall()):
        case = Case("lorentz" if isinstance(manifold, Lorentz) else "poincare", torch.float32)
        scaled = geoopt.Scaled(manifold, 3.0)
        x, y, u = case.point(0), case.point(1), case.at_origin(2)
        torch.testing.assert_close(scaled.dist(x, y), 3 * manifold.dist(x, y))
        torch.testing.assert_close(scaled.dist2(x, y), 9 * manifold.dist2(x, y))
        torch.testing.assert_close(scaled.dist0(x), 3 * manifold.dist0(x))
        torch.testing.assert_close(scaled.expmap0(3 * u), manifold.expmap0(u))
        torch.testing.assert_close(scaled.logmap(x, y), 3 * manifold.logmap(x, y))
        if case.model == "lorentz":
            torch.testing.assert_close(scaled.expmap0_space(3 * u[:, 1:]), manifold.expmap0_space(u[:, 1:]))
            torch.testing.assert_close(scaled.logmap0_space(x), 3 * manifold.logmap0_space(x))
