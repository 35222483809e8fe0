"""Entailment cones: one cone on both models, accurate angles, finite gradients."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points
from torch import Tensor

from hypersst.manifolds import Lorentz, lorentz_to_poincare
from hypersst.nn import EntailmentCone, entailment_loss

both_models = pytest.mark.parametrize("name", MANIFOLDS)
K = 0.2


def make(name: str, c: float = 0.75, **options) -> EntailmentCone:
    return EntailmentCone(manifold=MANIFOLDS[name](c, **options), min_radius=K).double()


def dot(u: list[float], v: list[float]) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def ganea_of_2018(x: list[float], y: list[float], c: float) -> tuple[float, float]:
    """Half aperture and exterior angle in the ball of curvature -1, to which the points are scaled."""
    x, y = ([math.sqrt(c) * a for a in point] for point in (x, y))
    xx, yy, xy = dot(x, x), dot(y, y), dot(x, y)
    way = math.sqrt(xx + yy - 2 * xy)
    cosine = (xy * (1 + xx) - xx * (1 + yy)) / (math.sqrt(xx) * way * math.sqrt(1 + xx * yy - 2 * xy))
    return math.asin(K * (1 - xx) / math.sqrt(xx)), math.acos(cosine)


def desai_of_2023(x: list[float], y: list[float], c: float) -> tuple[float, float]:
    """Half aperture and exterior angle in Lorentz coordinates."""
    product, length = c * (dot(x[1:], y[1:]) - x[0] * y[0]), math.sqrt(dot(x[1:], x[1:]))
    cosine = (y[0] + x[0] * product) / (length * math.sqrt(product**2 - 1))
    return math.asin(2 * K / (math.sqrt(c) * length)), math.acos(cosine)


@pytest.mark.parametrize("c", CURVATURES)
@both_models
def test_aperture_and_angle_are_the_papers_formulas(name, c):
    cone = make(name, c)
    x, y = points(cone.manifold, 20, 3, radius=1.5), points(cone.manifold, 20, 3, radius=2.0, seed=1)
    by_hand = ganea_of_2018 if name == "ball" else desai_of_2023
    pairs = [by_hand(a, b, c) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    apertures, angles = torch.tensor(pairs, dtype=torch.float64).unbind(-1)
    torch.testing.assert_close(cone.half_aperture(x), apertures, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(cone.angle(x, y), angles, rtol=1e-10, atol=1e-10)
    expected = [max(0.0, angle - aperture) for aperture, angle in pairs]
    torch.testing.assert_close(cone(x, y), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("c", CURVATURES)
def test_both_models_have_the_same_cone(c):
    lorentz, ball = make("lorentz", c), make("ball", c)
    x, y = points(lorentz.manifold, 20, 3, radius=1.5), points(lorentz.manifold, 20, 3, radius=2.0, seed=1)
    u, v = lorentz_to_poincare(x, c), lorentz_to_poincare(y, c)
    torch.testing.assert_close(ball.half_aperture(u), lorentz.half_aperture(x))
    torch.testing.assert_close(ball.angle(u, v), lorentz.angle(x, y))
    torch.testing.assert_close(ball(u, v), lorentz(x, y))


def test_the_constant_of_ganea_is_reached_at_their_smallest_norm():
    epsilon = 0.1
    cone = EntailmentCone(manifold=MANIFOLDS["ball"](), min_radius=epsilon / (1 - epsilon**2)).double()
    x = torch.tensor([[epsilon, 0.0], [0.5 * epsilon, 0.0], [1.1 * epsilon, 0.0]], dtype=torch.float64)
    found = cone.half_aperture(x)
    torch.testing.assert_close(found[:2], torch.full((2,), math.pi / 2, dtype=torch.float64), rtol=0, atol=1e-7)
    assert float(found[2]) < 1.2


@both_models
def test_the_cone_of_a_point_in_a_cone_lies_in_it(name):
    cone = make(name)
    x, y, z = (points(cone.manifold, 100, 2, radius=r, seed=s) for s, r in enumerate((0.5, 1.0, 2.0)))
    x, y, z = x[:, None, None], y[None, :, None], z[None, None, :]
    chain = (cone(x, y) == 0.0) & (cone(y, z) == 0.0)
    assert int(chain.sum()) > 100
    assert (cone(x, z).expand_as(chain)[chain] == 0.0).all()


@both_models
def test_descendants_on_the_ray_are_entailed_and_ancestors_are_opposite(name):
    cone = make(name)
    near, far = (points(cone.manifold, 5, 3, radius=r) for r in (1.0, 4.0))
    torch.testing.assert_close(cone.angle(near, far), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(cone.angle(far, near), torch.full((5,), math.pi, dtype=torch.float64))
    assert (cone(near, far) == 0.0).all()
    assert (cone(near, near) == 0.0).all()
    assert (cone.angle(near, near) == 0.0).all()


@pytest.mark.parametrize("behind", [False, True])
def test_angles_near_zero_and_pi_are_right_where_an_arc_cosine_is_not(behind):
    cone = EntailmentCone(manifold=Lorentz())
    # y is 1e-5 off the ray through x: the cosine of the angle is one in float32.
    x = torch.tensor([2.0, 0.0])
    y = torch.tensor([0.5 if behind else 4.0, 1e-5])
    found = float(cone.angle(cone.manifold.from_space(x), cone.manifold.from_space(y)))
    with mpmath.workdps(40):
        a, b = (
            [mpmath.sqrt(1 + sum(mpmath.mpf(t) ** 2 for t in p)), *map(mpmath.mpf, p)] for p in (x.tolist(), y.tolist())
        )
        product = a[1] * b[1] + a[2] * b[2] - a[0] * b[0]
        exact = mpmath.acos((b[0] + a[0] * product) / (a[1] * mpmath.sqrt(product**2 - 1)))
        small = mpmath.pi - exact if behind else exact
        error = abs((mpmath.mpf(found) - exact) / (1 if behind else small))
    assert 1e-6 < float(small) < 1e-4
    assert float(error) < (1e-6 if behind else 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@both_models
def test_gradients_are_finite_at_every_guard(name, dtype):
    cone = make(name, 1.0, learnable=True).to(dtype)
    with torch.no_grad():
        # Lorentz space parts; 2 K = 0.4 is where the aperture reaches 90 degrees.
        lengths = torch.tensor([0.0, 1e-30, 1e-10, 0.2, 0.4, math.nextafter(0.4, 1.0), 0.4 + 1e-7, 1.0, 500.0])
        space = torch.stack((lengths, torch.zeros_like(lengths)), dim=-1).to(dtype)
        x = Lorentz().to(dtype).from_space(space)
        x = x if name == "lorentz" else lorentz_to_poincare(x, 1.0)
        mirrored = x * torch.tensor([1.0, -1.0, 1.0] if name == "lorentz" else [-1.0, 1.0], dtype=dtype)
    for other in (x, mirrored, x.flip(0), x[:1].expand_as(x)):
        leaves = (x.clone().requires_grad_(), other.clone().requires_grad_())
        for function in (cone, cone.angle, lambda u, v: cone.half_aperture(u) + 0 * v.sum()):
            y = function(*leaves)
            assert y.isfinite().all()
            for gradient in torch.autograd.grad(y.sum(), (*leaves, cone.manifold.log_c), allow_unused=True):
                assert gradient is None or gradient.isfinite().all()


@both_models
def test_the_origin_entails_everything(name):
    cone = make(name)
    y = points(cone.manifold, 10, 3)
    origin = cone.manifold.origin(1, y.size(-1)).as_subclass(Tensor)
    assert (cone(origin, y) == 0.0).all()
    torch.testing.assert_close(cone.angle(origin, y), torch.full((10,), math.pi / 2, dtype=torch.float64))


@both_models
def test_float32_energies_at_radius_7_are_right(name):
    cone = EntailmentCone(manifold=MANIFOLDS[name]())
    x, y = (points(cone.manifold, 100, 8, radius=7.0, dtype=torch.float32, seed=seed) for seed in range(2))
    found, apertures = cone(x, y), cone.half_aperture(x)
    cone.double()
    if name == "lorentz":
        x, y = (cone.manifold.from_space(p[:, 1:].double()) for p in (x, y))
    torch.testing.assert_close(found.double(), cone(x.double(), y.double()), rtol=1e-4, atol=0.0)
    torch.testing.assert_close(apertures.double(), cone.half_aperture(x.double()), rtol=1e-4, atol=0.0)


@both_models
def test_the_loss_is_the_loop(name):
    cone = make(name)
    x, y = (points(cone.manifold, 4, 3, seed=seed) for seed in range(2))
    negatives = points(cone.manifold, 4, 5, 3, seed=2)
    margin, expected = 0.8, 0.0
    for i in range(4):
        expected += float(cone(x[i], y[i]))
        expected += sum(max(0.0, margin - float(cone(x[i], negatives[i, j]))) for j in range(5))
    assert float(entailment_loss(cone, x, y, negatives, margin)) == pytest.approx(expected, rel=1e-10)
    pairs = (x.unsqueeze(1).expand(-1, 5, -1), negatives)
    torch.testing.assert_close(
        entailment_loss(cone, x, y, pairs, margin), entailment_loss(cone, x, y, negatives, margin)
    )


def test_a_constant_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"`min_radius` must be positive, got 0\.0"):
        EntailmentCone(min_radius=0.0)
    assert "min_radius=0.1" in repr(EntailmentCone())
