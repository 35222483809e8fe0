"""RiemannianAdamW is AdamW off manifolds, geoopt's Riemannian Adam on them, and resumes bit for bit."""

import geoopt
import pytest
import torch

import hypersst
from hypersst.manifolds import Lorentz
from hypersst.optim import RiemannianAdamW


def _train(parameters: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        sum((p * torch.arange(1.0, p.numel() + 1).view_as(p)).sin().sum() for p in parameters).backward()
        optimizer.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_plain_parameters_step_as_by_adamw(weight_decay: float) -> None:
    start = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for kind in (RiemannianAdamW, torch.optim.AdamW):
        p = torch.nn.Parameter(start.clone())
        _train([p], kind([p], lr=0.1, weight_decay=weight_decay), 20)
        results.append(p.detach())
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


def test_points_step_as_by_geoopts_riemannian_adam_and_stay_on_the_manifold() -> None:
    manifold = Lorentz()
    start = manifold.expmap0_space(torch.randn(5, 3, generator=torch.Generator().manual_seed(1)))
    results = []
    for kind in (RiemannianAdamW, geoopt.optim.RiemannianAdam):
        p = geoopt.ManifoldParameter(start.clone(), manifold=manifold)
        _train([p], kind([p], lr=0.05), 20)
        results.append(p.detach())
        assert manifold.check_point_on_manifold(p.detach(), atol=1e-4)
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_decay_shrinks_weights_by_exactly_one_minus_rate_times_decay() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = RiemannianAdamW([p], lr=0.1, weight_decay=0.5)
    p.grad = torch.zeros(3)
    optimizer.step()
    assert torch.equal(p.detach(), torch.full((3,), 1.0 - 0.1 * 0.5))
    assert optimizer.param_groups[0]["weight_decay"] == 0.5


def test_decay_of_sigma_is_decay_of_the_weight() -> None:
    layer = torch.nn.Linear(6, 4, bias=False).double()
    hypersst.spectralize(layer, rank=2)
    before = layer.weight.detach().clone()
    optimizer = RiemannianAdamW(hypersst.param_groups(layer, lr=0.1, weight_decay=0.5), lr=0.1)
    hypersst.SSTSampler(layer, optimizer, warmup_steps=0)
    (0.0 * layer(torch.ones(1, 6, dtype=torch.float64))).sum().backward()
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), 0.95 * before)


def test_decay_of_a_point_is_refused() -> None:
    manifold = Lorentz()
    p = geoopt.ManifoldParameter(manifold.origin(2, 4), manifold=manifold)
    with pytest.raises(ValueError, match=r"`weight_decay` must be 0 in a group with points on Lorentz, got 0\.1"):
        RiemannianAdamW([p], lr=0.1, weight_decay=0.1)


def test_a_loaded_optimizer_steps_bit_for_bit_like_the_saved_one() -> None:
    def fresh() -> tuple[list[torch.nn.Parameter], RiemannianAdamW]:
        p = torch.nn.Parameter(torch.linspace(-1, 1, 7))
        manifold = Lorentz()
        q = geoopt.ManifoldParameter(manifold.origin(2, 4), manifold=manifold)
        return [p, q], RiemannianAdamW([p, q], lr=0.03)

    unbroken, optimizer = fresh()
    _train(unbroken, optimizer, 5)
    state = optimizer.state_dict()
    values = [p.detach().clone() for p in unbroken]
    state = torch.utils._pytree.tree_map(lambda t: t.clone() if isinstance(t, torch.Tensor) else t, state)
    _train(unbroken, optimizer, 5)
    resumed, second = fresh()
    for p, value in zip(resumed, values, strict=True):
        p.data.copy_(value)
    second.load_state_dict(state)
    _train(resumed, second, 5)
    assert all(torch.equal(a, b) for a, b in zip(unbroken, resumed, strict=True))
