"""ReLoRA* merges and begins anew without moving the weight, and resumes bit for bit."""

from __future__ import annotations

import io
import itertools

import geoopt
import pytest
import torch
from spectral_cases import batch, rates_seen, relative, train
from torch import nn

import hypersst
from hypersst.lowrank import ReLoRA, lora, lora_weights

OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9),
    "nadam": lambda p: torch.optim.NAdam(p, lr=1e-2),
    "riemannian-adam": lambda p: geoopt.optim.RiemannianAdam(p, lr=1e-2),
}


def build(name="adamw", start=0, scale=1.0, **options):
    torch.manual_seed(start)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5))
    lora(model, 2, scale=scale)
    optimizer = OPTIMIZERS[name](hypersst.param_groups(model, lr=1e-2))
    return model, optimizer, ReLoRA(model, optimizer, **{"steps_per_restart": 4, "warmup_steps": 0} | options)


def weights(model):
    return [model[0].weight.detach().clone(), model[2].weight.detach().clone()]


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restart_keeps_the_weight_zeroes_b_draws_a_and_clears_their_state(name, scale):
    model, optimizer, restarts = build(name, scale=scale)
    train(model, optimizer, range(4))  # the fourth step ends with a restart
    assert restarts.step_count == 4
    twin, other, _ = build(name, scale=scale, steps_per_restart=100)
    train(twin, other, range(4))
    for ours, theirs in zip(weights(model), weights(twin), strict=True):
        assert relative(ours, theirs) < 1e-6
    for weight, before in zip(lora_weights(model), lora_weights(twin), strict=True):
        assert not weight.lora.b.any()
        assert not torch.equal(weight.lora.a, before.lora.a)
        assert not torch.equal(weight.frozen, before.frozen)
        for factor in (weight.lora.a, weight.lora.b):
            for key, value in optimizer.state[factor].items():
                start = 1.0 if key == "mu_product" else 0.0
                assert (torch.as_tensor(value) == start).all(), key
    bias = optimizer.state[model[0].bias]
    assert any(bool(torch.as_tensor(value).any()) for value in bias.values())  # others keep theirs


def test_restarts_come_every_so_many_steps():
    model, optimizer, _ = build(steps_per_restart=3)
    zero = []
    for step in range(7):
        train(model, optimizer, range(step, step + 1))
        zero.append(not lora_weights(model)[0].lora.b.any())
    assert zero == [False, False, True, False, False, True, False]


def test_the_weight_moves_by_more_than_the_rank_over_restarts():
    model, optimizer, _ = build(steps_per_restart=5)
    before = weights(model)[0]
    train(model, optimizer, range(14))
    assert int(torch.linalg.matrix_rank(weights(model)[0] - before, rtol=1e-4)) > 2


def test_draws_depend_on_seed_name_and_restart_alone():
    def drawn(start, **options):
        model, optimizer, _ = build(start=start, **options)
        train(model, optimizer, range(4))
        first = [w.lora.a.detach().clone() for w in lora_weights(model)]
        train(model, optimizer, range(4, 8))
        return first + [w.lora.a.detach().clone() for w in lora_weights(model)]

    one = drawn(0, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one, drawn(8, seed=3), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, drawn(0, seed=4), strict=True))
    assert not torch.equal(one[0], one[2])  # another restart, another draw


def test_low_rank_groups_warm_up_after_each_restart():
    model, optimizer, _ = build(steps_per_restart=5, warmup_steps=2)
    seen = rates_seen(optimizer)
    train(model, optimizer, range(10))
    roles = [group["role"] for group in optimizer.param_groups]
    assert roles == ["weights", "scalars"]
    assert [r[0] for r in seen] == pytest.approx([1e-2 * f for f in [0.5, 1.0, 1.0, 1.0, 1.0] * 2])
    assert [r[1] for r in seen] == [1e-2] * 10
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2, 1e-2]


def test_detach_takes_the_hooks_off():
    model, optimizer, restarts = build(steps_per_restart=2)
    restarts.detach()
    train(model, optimizer, range(4))
    assert restarts.step_count == 0
    assert lora_weights(model)[0].lora.b.any()


def test_merging_keeps_the_outputs_after_restarts():
    model, optimizer, restarts = build()
    train(model, optimizer, range(6))
    restarts.detach()
    x, _ = batch(0)
    expected = model(x)
    hypersst.merge(model)
    torch.testing.assert_close(model(x), expected)
    assert not nn.utils.parametrize.is_parametrized(model)


# -- resume --------------------------------------------------------------------------------------------------

PARTS = ("model", "optimizer", "restarts")


def saved(parts):
    buffer = io.BytesIO()
    torch.save([part.state_dict() for part in parts], buffer)
    buffer.seek(0)
    return dict(zip(PARTS, torch.load(buffer, weights_only=True), strict=True))


def assert_identical(one, other):
    a, b = saved(one), saved(other)
    assert a["restarts"] == b["restarts"]
    for key, value in a["model"].items():
        assert torch.equal(value, b["model"][key]), key
    assert a["optimizer"]["param_groups"] == b["optimizer"]["param_groups"]
    for number, state in a["optimizer"]["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(b["optimizer"]["state"][number][key])), key


@pytest.mark.parametrize("order", list(itertools.permutations(PARTS)), ids="-".join)
@pytest.mark.parametrize("cut", [1, 3, 4, 5])
@pytest.mark.parametrize("name", ["adamw", "riemannian-adam"])
def test_a_resumed_run_equals_the_unbroken_one(name, cut, order):
    reference = build(name, start=1, warmup_steps=2)
    train(*reference[:2], range(cut + 5))
    first = build(name, start=1, warmup_steps=2)
    train(*first[:2], range(cut))
    data = saved(first)
    second = dict(zip(PARTS, build(name, start=9, warmup_steps=2), strict=True))
    for part in order:
        second[part].load_state_dict(data[part])
    train(second["model"], second["optimizer"], range(cut, cut + 5))
    assert_identical(tuple(second.values()), reference)


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps_per_restart": 0}, "`steps_per_restart` must be at least 1, got 0"),
        ({"warmup_steps": -1}, "`warmup_steps` must be at least 0, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_a_model_without_low_rank_weights_is_refused():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="`model` must have low-rank weights, but Linear has none: use `lora`"):
        ReLoRA(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_an_optimizer_that_lacks_the_factors_is_refused_and_keeps_no_hook():
    model = nn.Sequential(nn.Linear(8, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lora(model, 1)
    with pytest.raises(ValueError, match="`optimizer` must hold the low-rank parameters: build it after `lora`"):
        ReLoRA(model, optimizer)
    assert not optimizer._optimizer_step_post_hooks


def test_the_repr_tells_the_settings():
    assert "2 weights; step 0; steps_per_restart=4, warmup_steps=0, seed=0" in repr(build()[2])
