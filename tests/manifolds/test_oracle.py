"""Values and gradients of every verb against 60 digits, from the origin to the cap."""

import math

import pytest
import torch
from manifold_cases import CURVATURES, DTYPES, MODELS

from hypersst.experiments.numerics import FROM_ORIGIN, PAIRWISE, RADII, measure, pair_at
from hypersst.experiments.oracle import LorentzOracle, PoincareOracle, value_and_gradients
from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare

# Error over eps·cosh(radius), which is what one rounding of a point costs. Measured: values up to 2.1, gradients up to
# 8, of transport (where the gradient with respect to a point is a small difference of two large parts) up to 17.
VALUE_FACTOR = 8
GRADIENT_FACTOR = 32


def value_tolerance(model, name, dtype, radius):
    unit = torch.finfo(dtype).eps * math.cosh(radius)
    # A transported vector of the hyperboloid may be cosh(radius) shorter, as a list of numbers, than the two terms it
    # is the sum of; as a tangent vector it keeps its length, and its error in the metric stays at eps·cosh(radius).
    return VALUE_FACTOR * unit * (math.cosh(radius) if (model, name) == ("lorentz", "transp") else 1)


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS)
def test_values_and_gradients_are_right_to_a_rounding_of_the_point(model, dtype, c, radius):
    kind = Lorentz if model == "lorentz" else PoincareBall
    manifold = kind(torch.tensor(c, dtype=dtype), max_radius=9 / math.sqrt(c))
    unit = torch.finfo(dtype).eps * math.cosh(radius)
    for step in (1e-3, 1.0):
        points = pair_at(model, radius, step, 3, 3, c, dtype, seed=1)
        for name in (*FROM_ORIGIN, *PAIRWISE) if step == 1.0 else PAIRWISE:
            value, gradient = measure(manifold, name, points)
            assert value <= value_tolerance(model, name, dtype, radius), (name, step, value / unit)
            assert gradient <= GRADIENT_FACTOR * unit, (name, step, gradient / unit)


@pytest.mark.parametrize("radius", [0.0, 1e-4, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("model", MODELS)
def test_points_on_one_ray_lose_no_more_than_others(model, radius):
    """The hard case for differences: both parts of the chord are long and nearly equal."""
    ray = torch.tensor([[0.6, 0.0, -0.8]], dtype=torch.float64)
    near, far = (Lorentz(max_radius=20.0).double().expmap0_space(r * ray) for r in (radius, radius + 0.5))
    if model == "lorentz":
        manifold, points = Lorentz(max_radius=9.0), {"x": near[:, 1:].float(), "y": far[:, 1:].float()}
    else:
        manifold = PoincareBall(max_radius=9.0)
        points = {"x": lorentz_to_poincare(near, 1.0).float(), "y": lorentz_to_poincare(far, 1.0).float()}
    unit = torch.finfo(torch.float32).eps * math.cosh(radius + 0.5)
    # Gradients point along the ray, where the hyperboloid's coordinates are stretched: as lists of numbers they are
    # cosh(radius) shorter than a rounding across the ray is, which in the metric they are not.
    shrink = math.cosh(radius + 0.5) if model == "lorentz" else 1.0
    for name in ("dist", "logmap"):
        for flipped in (points, {"x": points["y"], "y": points["x"]}):
            value, gradient = measure(manifold, name, flipped)
            assert value <= VALUE_FACTOR * unit, (name, value / unit)
            assert gradient <= VALUE_FACTOR * unit * shrink, (name, gradient / unit)


@pytest.mark.parametrize("oracle", [LorentzOracle, PoincareOracle])
def test_the_oracle_is_consistent_with_itself(oracle):
    o = oracle(0.7)
    x, u, w = ([0.3, -0.2], [0.1, 0.25], [-0.4, 0.2])
    mp = o.mp
    x, u, w = ([mp.mpf(a) for a in v] for v in (x, u, w))
    y = o.expmap(x, u)
    assert max(abs(a - b) for a, b in zip(o.logmap(x, y), u, strict=True)) < 1e-50
    back = o.transp(y, x, o.transp(x, y, w))
    assert max(abs(a - b) for a, b in zip(back, w, strict=True)) < 1e-50
    # Transport takes the velocity of a geodesic along: from y, the same velocity again goes twice as far.
    twice = o.expmap(y, o.transp(x, y, u))
    assert max(abs(a - b) for a, b in zip(twice, o.expmap(x, [2 * a for a in u]), strict=True)) < 1e-50
    assert abs(o.dist(x, twice)[0] - 2 * o.dist(x, y)[0]) < 1e-50


def test_the_oracles_derivative_is_the_derivative():
    _, (gradient,) = value_and_gradients(lambda v: [v[0] ** 3 * v[1]], [[2.0, 5.0]], [1.0])
    assert gradient == [60.0, 8.0]
