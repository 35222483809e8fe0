"""Plain parameters step as by torch's own optimizers."""

from __future__ import annotations

import pytest
import torch
from optim_cases import assert_close, give_gradients, parameters, run, values

from hypersst.optim import RiemannianAdam, RiemannianAdamW, RiemannianSGD

PAIRS = {
    "adam": (RiemannianAdam, torch.optim.Adam, {"lr": 0.05}),
    "adam-l2": (RiemannianAdam, torch.optim.Adam, {"lr": 0.05, "weight_decay": 0.3}),
    "adam-amsgrad": (RiemannianAdam, torch.optim.Adam, {"lr": 0.05, "amsgrad": True, "eps": 1e-3}),
    "adamw": (RiemannianAdamW, torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.3}),
    "adamw-amsgrad": (RiemannianAdamW, torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    "adamw-up": (RiemannianAdamW, torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.3, "maximize": True}),
    "sgd": (RiemannianSGD, torch.optim.SGD, {"lr": 0.05}),
    "sgd-l2-up": (RiemannianSGD, torch.optim.SGD, {"lr": 0.05, "weight_decay": 0.3, "maximize": True}),
    "sgd-momentum": (RiemannianSGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.4}),
    "sgd-nesterov": (RiemannianSGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
}
TORCH_ONLY = {"weight_decay": 0.0}  # torch's AdamW decays by default


def plain(dtype=torch.float64):
    shapes = [(4, 3), (), (7,), (4, 3), (2, 1, 5)]
    params = [torch.nn.Parameter(p.detach().as_subclass(torch.Tensor)) for p in parameters("flat", dtype, shapes)]
    # One in column-major order, which torch's kernel does not take.
    return [*params, torch.nn.Parameter(torch.arange(12.0, dtype=dtype).view(3, 4).t())]


@pytest.mark.parametrize("foreach", [None, False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PAIRS)
def test_plain_parameters_make_the_steps_of_torch(name, dtype, foreach):
    kind, other, options = PAIRS[name]
    mine, theirs = plain(dtype), plain(dtype)
    ours = kind(mine, foreach=foreach, **options)
    reference = other(theirs, **TORCH_ONLY | options)
    start = values(mine)
    for step in range(9):
        for params in (mine, theirs):
            give_gradients(params, step)
            params[2].grad = None if step % 2 else params[2].grad  # counts differ
        ours.step()
        reference.step()
        assert_close(mine, theirs)
    assert all((p - s).abs().max() > 0.01 for p, s in zip(values(mine), start, strict=True))
    for p, q in zip(mine, theirs, strict=True):
        assert ours.state.get(p, {}).keys() == reference.state.get(q, {}).keys() - (
            {"momentum_buffer"} if not options.get("momentum") else set()
        )


@pytest.mark.parametrize(("kind", "other"), [(RiemannianAdam, torch.optim.Adam), (RiemannianSGD, torch.optim.SGD)])
def test_complex_parameters_make_the_steps_of_torch(kind, other):
    start = torch.complex(torch.arange(4.0), torch.ones(4)).to(torch.complex128)
    results = []
    for optimizer_kind in (kind, other):
        p = torch.nn.Parameter(start.clone())
        optimizer = optimizer_kind([p], lr=0.1)
        for step in range(4):
            p.grad = torch.polar(torch.linspace(0.5, 2.0, 4).double(), torch.arange(4.0).double() + step)
            optimizer.step()
        results.append(p.detach())
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("kind", [RiemannianAdam, RiemannianAdamW, RiemannianSGD])
def test_a_step_is_seen_by_version_counters(kind):
    # torch's fused kernels do not count up; caches under the key of a version would go stale.
    params = plain()
    versions = [p._version for p in params]
    run(kind(params, lr=0.05), params, 1)
    assert all(p._version > version for p, version in zip(params, versions, strict=True))


def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned():
    p = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = RiemannianSGD([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9.0
    assert p.item() == 0.0


def test_schedulers_set_the_rates_of_steps():
    mine, theirs = plain(), plain()
    for params, kind in ((mine, RiemannianAdamW), (theirs, torch.optim.AdamW)):
        optimizer = kind(params, lr=0.1, weight_decay=0.1)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)  # betas move too
        for step in range(8):
            run(optimizer, params, range(step, step + 1))
            scheduler.step()
    assert_close(mine, theirs)
