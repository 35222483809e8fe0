"""Learning rates that rise after each draw, and layers that draw one after another."""

from __future__ import annotations

import pytest
import torch
from spectral_cases import rates_seen, small_model, train, trained, without_rates
from torch import nn

import hypersst
from hypersst.spectral import Never, Sequential, SSTSampler, spectral_weights
from hypersst.spectral.warmup import linear_warmup


def roles(optimizer):
    return [group["role"] for group in optimizer.param_groups]


@pytest.mark.parametrize(
    ("position", "length", "factor"), [(0, 4, 0.25), (3, 4, 1.0), (9, 4, 1.0), (0, 1, 1.0), (0, 0, 1.0)]
)
def test_linear_warmup_ends_at_one(position, length, factor):
    assert linear_warmup(position, length) == factor


def test_spectral_groups_warm_up_after_each_draw_and_others_do_not():
    model, optimizer, _ = trained(steps=0, steps_per_iteration=6, warmup_steps=4)
    seen = rates_seen(optimizer)
    for step in range(12):
        train(model, optimizer, range(step, step + 1))
        assert [group["lr"] for group in optimizer.param_groups] == [1e-2] * len(optimizer.param_groups)
    ramp = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0] * 2
    for number, role in enumerate(roles(optimizer)):
        expected = ramp if role in ("sigma", "vectors") else [1.0] * 12
        assert [rates[number] for rates in seen] == pytest.approx([1e-2 * f for f in expected])


def test_a_scheduler_never_sees_the_warm_up():
    model, optimizer, _ = trained(steps=0, steps_per_iteration=6, warmup_steps=4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    seen = rates_seen(optimizer)
    for step in range(8):
        train(model, optimizer, range(step, step + 1))
        schedule.step()
        assert schedule.get_last_lr() == pytest.approx([1e-2 * 0.5 ** (step + 1)] * len(optimizer.param_groups))
    ramp = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.25, 0.5]
    number = roles(optimizer).index("vectors")
    assert [r[number] for r in seen] == pytest.approx([1e-2 * f * 0.5**i for i, f in enumerate(ramp)])


@pytest.mark.parametrize("shared", [True, False])
def test_rates_that_are_tensors_are_scaled_in_place_and_restored(shared):
    model = small_model()
    groups = without_rates(hypersst.param_groups(model, lr=0.0))
    if not shared:
        groups = [{**group, "lr": torch.tensor(1e-2)} for group in groups]
    optimizer = torch.optim.AdamW(groups, lr=torch.tensor(1e-2), capturable=False, foreach=False)
    SSTSampler(model, optimizer, steps_per_iteration=100, warmup_steps=4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    train(model, optimizer, range(1))
    schedule.step()
    tensors = [group["lr"] for group in optimizer.param_groups]
    seen = rates_seen(optimizer)
    for step in range(1, 6):
        train(model, optimizer, range(step, step + 1))
        schedule.step()
    assert all(group["lr"] is old for group, old in zip(optimizer.param_groups, tensors, strict=True))
    for number, role in enumerate(roles(optimizer)):
        factors = [0.5, 0.75, 1.0, 1.0, 1.0] if role in ("sigma", "vectors") else [1.0] * 5
        assert [r[number] for r in seen] == pytest.approx([1e-2 * f * 0.5 ** (i + 1) for i, f in enumerate(factors)])
    assert [float(t) for t in tensors] == pytest.approx([1e-2 * 0.5**6] * len(tensors))


def test_a_step_that_raised_does_not_leave_the_rates_scaled():
    model, optimizer, sampler = trained(steps=0, warmup_steps=4)

    def closure():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert sampler.step_count == 0
    seen = rates_seen(optimizer)
    train(model, optimizer, range(1))
    assert seen[0][roles(optimizer).index("sigma")] == pytest.approx(1e-2 / 4)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2] * len(optimizer.param_groups)


def test_no_warm_up_leaves_the_rates_alone():
    model, optimizer, _ = trained(steps=0, warmup_steps=0)
    seen = rates_seen(optimizer)
    train(model, optimizer, range(5))
    assert all(rates == [1e-2] * len(rates) for rates in seen)


# -- staggering ----------------------------------------------------------------------------------------------


def test_staggered_layers_draw_one_after_another():
    model, optimizer, _ = trained(
        steps=0, steps_per_iteration=6, stagger=2, selection=Sequential(), decomposition=Never()
    )
    changes = {w.name: [] for w in spectral_weights(model)}
    for step in range(22):
        before = {w.name: w.spectral.index.clone() for w in spectral_weights(model)}
        train(model, optimizer, range(step, step + 1))
        for w in spectral_weights(model):
            if not torch.equal(before[w.name], w.spectral.index):
                changes[w.name].append(step + 1)
    assert changes == {"0.weight": [6, 12, 18], "2.weight": [8, 14, 20]}


def test_a_staggered_layer_warms_up_once_an_iteration():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5))
    hypersst.spectralize(model, rank=2)
    first, second = spectral_weights(model)
    groups = [{"params": [w.sigma, w.spectral.u_active, w.spectral.v_active], "role": w.name} for w in (first, second)]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    SSTSampler(model, optimizer, steps_per_iteration=6, warmup_steps=3, stagger=2)
    seen = rates_seen(optimizer)
    train(model, optimizer, range(16))
    ramp = [1 / 3, 2 / 3, 1.0]
    whole = [*ramp, 1.0, 1.0, 1.0]
    assert [r[0] for r in seen] == pytest.approx([1e-2 * f for f in (whole * 3)[:16]])
    # Its first iteration is two steps longer and begins with step 0 like that of the other.
    assert [r[1] for r in seen] == pytest.approx([1e-2 * f for f in ([*whole, 1.0, 1.0] + whole * 2)[:16]])
