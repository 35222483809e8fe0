"""As c → 0 space becomes flat: the hyperboloid's coordinates Euclidean ones, the ball's their halves."""

import pytest
import torch
from manifold_cases import Case

# With lengths of order one, the difference to the flat answer is of order c.
FLAT = 1e-8
TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(params=["lorentz", "poincare"])
def flat(request):
    case = Case(request.param, c=FLAT)
    # The ball has twice the Euclidean metric at the origin, λ² = 4.
    return case, case.manifold, 1.0 if request.param == "lorentz" else 2.0


def pair(case):
    x, y = (case.manifold.expmap0(case.at_origin(seed, std=1e-4)) for seed in range(2))
    return x, y, case.tangent(x, 2, std=1e-4)


def space(case, x):
    return x[..., -3:]


def test_distance_is_the_euclidean_one(flat):
    case, m, scale = flat
    x, y, _ = pair(case)
    torch.testing.assert_close(m.dist(x, y), scale * (space(case, x) - space(case, y)).norm(dim=-1), **TOLERANCE)


def test_exp_is_addition_and_log_subtraction(flat):
    case, m, _ = flat
    x, y, u = pair(case)
    torch.testing.assert_close(space(case, m.expmap(x, u)), space(case, x) + space(case, u), **TOLERANCE)
    torch.testing.assert_close(space(case, m.logmap(x, y)), space(case, y) - space(case, x), **TOLERANCE)
    torch.testing.assert_close(space(case, x), space(case, case.at_origin(0, std=1e-4)), **TOLERANCE)


def test_transport_does_nothing(flat):
    case, m, _ = flat
    x, y, u = pair(case)
    torch.testing.assert_close(space(case, m.transp(x, y, u)), space(case, u), **TOLERANCE)


def test_inner_product_is_the_euclidean_one(flat):
    case, m, scale = flat
    x, y, u = pair(case)
    v = m.logmap(x, y)
    expected = scale**2 * (space(case, u) * space(case, v)).sum(-1)
    torch.testing.assert_close(m.inner(x, u, v), expected, **TOLERANCE)


def test_midpoint_is_the_weighted_mean(flat):
    case, m, _ = flat
    x, _, _ = pair(case)
    weight = torch.arange(1.0, 6.0, dtype=torch.float64)
    expected = (weight.unsqueeze(-1) * space(case, x)).sum(0) / weight.sum()
    torch.testing.assert_close(space(case, m.midpoint(x, weight)), expected, **TOLERANCE)


def test_hyperplane_distance_of_the_ball_is_twice_the_euclidean_one():
    case = Case("poincare", c=FLAT)
    x, p, a = pair(case)
    expected = 2 * ((x - p) * a).sum(-1) / a.norm(dim=-1)
    torch.testing.assert_close(case.manifold.dist2plane(x, p, a, signed=True), expected, **TOLERANCE)
