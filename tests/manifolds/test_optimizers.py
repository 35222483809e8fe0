"""geoopt's optimizers step on our manifolds and stay on them."""

import geoopt
import pytest
import torch
from geoopt.optim import RiemannianAdam, RiemannianSGD
from manifold_cases import MODELS, Case

OPTIMIZERS = {
    "adam": lambda p: RiemannianAdam(p, lr=1e-2),
    "amsgrad": lambda p: RiemannianAdam(p, lr=1e-2, amsgrad=True, stabilize=10),
    "momentum": lambda p: RiemannianSGD(p, lr=1e-2, momentum=0.9, stabilize=10),
    "nesterov": lambda p: RiemannianSGD(p, lr=1e-3, momentum=0.9, nesterov=True),
}


def parameter(case, seed=0, std=1.0):
    manifold = case.manifold
    return geoopt.ManifoldParameter(case.point(seed, std), manifold=manifold), manifold


@pytest.mark.parametrize(
    ("model", "name", "dtype"),
    [
        *((model, name, torch.float32) for model in MODELS for name in ("adam", "momentum")),
        *((model, "adam", torch.float64) for model in MODELS),
        ("lorentz", "amsgrad", torch.float32),
        ("poincare", "nesterov", torch.float32),
    ],
    ids=str,
)
def test_500_steps_stay_on_the_manifold_and_find_the_target(model, dtype, name):
    case = Case(model, dtype, c=0.7, shape=(4,))
    p, manifold = parameter(case)
    target = case.point(1)
    optimizer = OPTIMIZERS[name]([p])
    start = manifold.dist2(p, target).sum().detach()
    for _ in range(500):
        optimizer.zero_grad()
        manifold.dist2(p, target).sum().backward()
        optimizer.step()
    tolerance = 8 * case.eps
    assert manifold.check_point_on_manifold(p.detach(), atol=tolerance, rtol=tolerance)
    # Adam's steps of constant length end in a neighbourhood of the target.
    assert manifold.dist2(p, target).sum().detach() < 1e-2 * start


@pytest.mark.parametrize("model", MODELS)
def test_the_stored_momentum_stays_tangent_and_finite_far_out(model):
    case = Case(model, torch.float32, shape=(8,))
    p, manifold = parameter(case, std=3.5)
    assert manifold.dist0(p).max() > 6
    optimizer = RiemannianAdam([p], lr=1e-1)
    for step in range(100):
        optimizer.zero_grad()
        # A noisy pull outwards, against the cap.
        noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
        (-manifold.dist0(p).sum() + (noise * p).sum()).backward()
        optimizer.step()
        state = optimizer.state[p]
        assert p.isfinite().all()
        assert (state["exp_avg_sq"] >= 0).all()
        assert state["exp_avg"].isfinite().all()
    assert manifold.check_point_on_manifold(p.detach())
    assert manifold.dist0(p).max() <= 7.01


@pytest.mark.parametrize("model", MODELS)
def test_the_frechet_mean_of_two_points_is_their_midpoint(model):
    case = Case(model, shape=(2,))
    manifold, points = case.manifold, case.point(0)
    p = geoopt.ManifoldParameter(case.point(1)[:1], manifold=manifold)
    optimizer = RiemannianSGD([p], lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        manifold.dist2(p, points).sum().backward()
        optimizer.step()
    torch.testing.assert_close(p.detach()[0], manifold.midpoint(points), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("model", MODELS)
def test_a_point_at_the_origin_starts_to_move(model):
    case = Case(model, torch.float32, shape=(4,))
    manifold = case.manifold
    p = geoopt.ManifoldParameter(case.origin(), manifold=manifold)
    optimizer = RiemannianSGD([p], lr=0.1)
    (manifold.logmap0(p)[..., -1]).sum().backward()
    optimizer.step()
    torch.testing.assert_close(
        manifold.logmap0(p.detach())[..., -1], torch.full((4,), -0.1 if model == "lorentz" else -0.025)
    )
