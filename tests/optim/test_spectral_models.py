"""Spectral models under our optimizers: the sampler's clock, the sphere, and resumed runs."""

from __future__ import annotations

import copy

import pytest
import torch
from optim_cases import assert_equal
from spectral_cases import batch, small_model, train

import hypersst
from hypersst.optim import RiemannianAdam, RiemannianAdamW, RiemannianSGD
from hypersst.spectral import SSTSampler, spectral_weights

KINDS = {
    "adam": lambda groups: RiemannianAdam(groups),
    "adamw": lambda groups: RiemannianAdamW(groups, amsgrad=True),
    "captured": lambda groups: RiemannianAdam(groups, capturable=True),
    "sgd": lambda groups: RiemannianSGD(groups, momentum=0.9),
}


def build(name, dtype=torch.float32, **options):
    model = small_model(dtype=dtype)
    groups = hypersst.param_groups(model, lr=1e-2, vector_lr=0.02)
    optimizer = KINDS[name](groups)
    return model, optimizer, SSTSampler(model, optimizer, **{"steps_per_iteration": 7, "warmup_steps": 2} | options)


@pytest.mark.parametrize("name", KINDS)
def test_the_sampler_finds_an_optimizer_that_steps_on_the_sphere(name):
    _, optimizer, sampler = build(name)
    assert f"2 stepped along the sphere by {type(optimizer).__name__}" in repr(sampler)


@pytest.mark.parametrize("name", KINDS)
def test_rows_stay_on_the_sphere_for_200_steps_and_the_loss_falls(name):
    model, optimizer, _ = build(name)
    x, target = batch(0)
    before = (model(x) - target).square().mean().item()
    for step in range(200):
        train(model, optimizer, range(step, step + 1))
        for weight in spectral_weights(model):
            p = weight.spectral
            for rows in (*p.rows, p.u_active, p.v_active):
                assert (rows.detach().double().norm(dim=1) - 1).abs().max() < 1e-6
    assert (model(x) - target).square().mean().item() < 0.7 * before


@pytest.mark.parametrize("name", KINDS)
def test_a_draw_clears_the_state_of_new_vectors(name):
    model, optimizer, _ = build(name)
    vectors = [p for w in spectral_weights(model) for p in (w.spectral.u_active, w.spectral.v_active)]
    train(model, optimizer, range(6))
    assert all(
        entry is not None and torch.as_tensor(entry).any() for p in vectors for entry in optimizer.state[p].values()
    )
    train(model, optimizer, range(6, 7))
    assert not any(torch.as_tensor(entry).any() for p in vectors for entry in optimizer.state[p].values())


@pytest.mark.parametrize("name", KINDS)
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(name):
    model, optimizer, sampler = build(name)
    train(model, optimizer, range(10))
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), sampler.state_dict()))
    train(model, optimizer, range(10, 20))
    resumed, second, clock = build(name)
    resumed.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    clock.load_state_dict(saved[2])
    train(resumed, second, range(10, 20))
    assert_equal(list(resumed.parameters()), list(model.parameters()))


def test_a_step_is_that_of_geoopt():
    import geoopt

    models = []
    for kind in (RiemannianAdam, geoopt.optim.RiemannianAdam):
        model = small_model(dtype=torch.float64)
        optimizer = kind(hypersst.param_groups(model, lr=1e-2))
        SSTSampler(model, optimizer, steps_per_iteration=4, warmup_steps=2)
        train(model, optimizer, range(12))
        models.append(model)
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-8)


def test_the_cached_weight_of_evaluation_follows_a_step():
    model = small_model()
    optimizer = RiemannianAdam(hypersst.param_groups(model, lr=0.1))
    x, _ = batch(0)
    with torch.no_grad():
        model.eval()
        before = model(x)
    model.train()
    train(model, optimizer, range(1))
    with torch.no_grad():
        model.eval()
        after = model(x)
        model.train()
        torch.testing.assert_close(after, model(x))
    assert (after - before).abs().max() > 1e-3
