"""The clock: what happens before, between and after optimizer steps."""

from __future__ import annotations

import logging

import geoopt
import pytest
import torch
from spectral_cases import (
    OPTIMIZERS,
    batch,
    build_optimizer,
    only,
    rates_seen,
    small_model,
    train,
    trained,
    weights_of,
)
from torch import Tensor, nn

import hypersst
from hypersst.spectral import Never, Sequential, SSTSampler, TopR, Uniform, spectral_weights

# -- which rows move -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adamw", "sgd-momentum", "riemannian-adam", "riemannian-sgd"])
def test_only_active_rows_move_within_an_iteration(name):
    model, optimizer, _ = trained(name, steps=0, steps_per_iteration=4, decomposition=Never())
    for step in range(12):
        before = [
            (w.spectral.index.clone(), *(r.detach().clone() for r in w.spectral.rows)) for w in spectral_weights(model)
        ]
        train(model, optimizer, range(step, step + 1))
        for weight, (index, u, v) in zip(spectral_weights(model), before, strict=True):
            for old, new in zip((u, v), weight.spectral.rows, strict=True):
                moved = (old.as_subclass(Tensor) != new.as_subclass(Tensor)).any(dim=1)
                assert moved.nonzero().flatten().tolist() == sorted(index.tolist())


@pytest.mark.parametrize("name", ["adamw", "riemannian-adam"])
def test_active_rows_are_written_back_after_every_step(name):
    model, optimizer, _ = trained(name, steps=0)
    for step in range(8):
        train(model, optimizer, range(step, step + 1))
        for w in spectral_weights(model):
            p = w.spectral
            assert torch.equal(p.u[p.index].as_subclass(Tensor), p.u_active.detach().as_subclass(Tensor))
            assert torch.equal(p.v[p.index].as_subclass(Tensor), p.v_active.detach().as_subclass(Tensor))


def test_a_draw_does_not_move_the_weight():
    model, _, _ = trained(steps=5)
    before = weights_of(model)
    for weight in spectral_weights(model):
        weight.spectral.activate(torch.tensor([3, 1]))
    assert all(torch.equal(a, b) for a, b in zip(before, weights_of(model), strict=True))


def test_draws_come_after_every_iteration_and_only_then():
    model, optimizer, sampler = trained(steps=0, steps_per_iteration=4, selection=Sequential(), decomposition=Never())
    seen = []
    for step in range(12):
        seen.append(spectral_weights(model)[0].spectral.index.tolist())
        assert sampler.iteration == step // 4
        train(model, optimizer, range(step, step + 1))
    assert seen == [[0, 1]] * 4 + [[2, 3]] * 4 + [[4, 5]] * 4
    assert sampler.step_count == 12


def test_every_vector_active_trains_everything_and_the_report_says_so(caplog):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6))
    with caplog.at_level(logging.INFO, logger="hypersst"):
        report = hypersst.spectralize(model, rank=50)
    assert "0.weight" in caplog.text
    assert report.layers[0].rank == 6
    assert report.layers[0].note == "all vectors train"
    assert "all vectors train" in str(report)
    optimizer = torch.optim.AdamW(hypersst.param_groups(model, lr=0.01))
    SSTSampler(model, optimizer, steps_per_iteration=3, warmup_steps=0)
    for _ in range(10):
        before = [r.detach().clone() for r in only(model).spectral.rows]
        optimizer.zero_grad()
        model(torch.randn(4, 8)).square().mean().backward()
        optimizer.step()
        for old, new in zip(before, only(model).spectral.rows, strict=True):
            assert (old != new).any(dim=1).all()


# -- how it attaches -----------------------------------------------------------------------------------------


def test_steps_that_a_grad_scaler_skips_do_not_count():
    model, optimizer, sampler = trained(steps=0, steps_per_iteration=2, selection=Sequential())
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    counts = []
    for step in range(6):
        x, target = batch(step)
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        scaler.scale(loss * (float("inf") if step % 2 else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
        counts.append(sampler.step_count)
    assert counts == [1, 1, 2, 2, 3, 3]
    assert all(w.isfinite().all() for w in weights_of(model))


def test_a_closure_counts_as_one_step():
    model, optimizer, sampler = trained(steps=0)
    x, target = batch(0)

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert sampler.step_count == 1


def test_detach_takes_the_sampler_off():
    model, optimizer, sampler = trained(steps=2, steps_per_iteration=3, warmup_steps=2)
    sampler.detach()
    sampler.detach()  # twice does no harm
    index = [w.spectral.index.clone() for w in spectral_weights(model)]
    seen = rates_seen(optimizer)
    train(model, optimizer, range(2, 8))
    assert sampler.step_count == 2
    assert all(rates == [1e-2] * len(rates) for rates in seen)
    assert all(torch.equal(a, w.spectral.index) for a, w in zip(index, spectral_weights(model), strict=True))
    spectral_rows = spectral_weights(model)[0].spectral.u_active
    assert (spectral_rows.norm(dim=1) - 1).abs().max() > 1e-4  # nobody normalises AdamW's steps any more


@pytest.mark.parametrize(
    ("name", "vectors", "expected"),
    [
        ("riemannian-adam", "sphere", "2 stepped along the sphere by RiemannianAdam"),
        ("riemannian-adam", "ambient", "2 stepped in the ambient space by RiemannianAdam and normalised afterwards"),
        ("adamw", "sphere", "2 stepped in the ambient space by AdamW and normalised afterwards"),
    ],
)
def test_the_sampler_says_how_the_vectors_are_stepped(name, vectors, expected, caplog):
    model = small_model(vectors=vectors)
    optimizer = build_optimizer(name, model)
    with caplog.at_level(logging.INFO, logger="hypersst"):
        sampler = SSTSampler(model, optimizer, seed=3, selection=TopR())
    for text in (repr(sampler), caplog.text):
        assert expected in text
        assert "seed=3" in text
        assert "TopR()" in text


def test_ambient_vectors_are_plain_parameters_and_stay_on_the_sphere_too():
    model = small_model(vectors="ambient")
    assert not any(isinstance(p, geoopt.ManifoldParameter) for p in model.parameters())
    optimizer = build_optimizer("riemannian-adam", model)
    SSTSampler(model, optimizer, steps_per_iteration=3, warmup_steps=0)
    train(model, optimizer, range(10))
    for w in spectral_weights(model):
        for rows in w.spectral.rows:
            assert (rows.norm(dim=1) - 1).abs().max() < 1e-6


def test_vectors_of_one_entry_train_with_any_optimizer():
    for name in OPTIMIZERS:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 1))
        hypersst.spectralize(model, rank=1)
        optimizer = build_optimizer(name, model)
        SSTSampler(model, optimizer, steps_per_iteration=2, warmup_steps=0)
        for _ in range(6):
            optimizer.zero_grad()
            (model(torch.randn(4, 8)) - 1).square().mean().backward()
            optimizer.step()
        weight = only(model)
        assert (weight.spectral.u_active.abs() - 1).abs().max() < 1e-6, name
        assert model[0].weight.isfinite().all()


def test_a_frozen_layer_is_left_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5))
    model[0].weight.requires_grad_(False)
    hypersst.spectralize(model, rank=2)
    assert not any(p.requires_grad for p in model[0].parametrizations.parameters())
    optimizer = build_optimizer("adamw", model)
    SSTSampler(model, optimizer, steps_per_iteration=2, warmup_steps=2)
    before = weights_of(model)[0]
    train(model, optimizer, range(7))
    torch.testing.assert_close(weights_of(model)[0], before)  # decomposed twice, so not bit for bit
    hypersst.merge(model)
    assert not model[0].weight.requires_grad
    assert model[2].weight.requires_grad


# -- telemetry -----------------------------------------------------------------------------------------------


def test_telemetry_measures_what_it_names():
    model, optimizer, sampler = trained(steps=0, steps_per_iteration=3, selection=Sequential())
    start = sampler.telemetry()
    assert set(start) == {"0.weight", "2.weight"}
    assert start["0.weight"].coverage == pytest.approx(2 / 6)
    assert start["0.weight"].defect_u < 1e-6
    train(model, optimizer, range(7))  # the third iteration of three
    now, weight = sampler.telemetry()["0.weight"], spectral_weights(model)[0]
    assert now.coverage == 1.0
    assert torch.equal(now.sigma, weight.sigma)
    assert torch.equal(now.index, weight.spectral.index)
    u, v = weight.spectral.rows
    identity = torch.eye(6)
    assert now.defect_u == pytest.approx(float((u @ u.t() - identity).norm()) / 6**0.5, rel=1e-5)
    assert now.defect_v == pytest.approx(float((v @ v.t() - identity).norm()) / 6**0.5, rel=1e-5)
    p = weight.sigma.detach() / weight.sigma.detach().sum()
    assert now.effective_rank == pytest.approx(float((-(p * p.log()).nansum()).exp()), rel=1e-5)
    train(model, optimizer, range(7, 9))
    after = sampler.telemetry()["0.weight"]
    assert after.coverage == pytest.approx(2 / 6)  # a round has ended
    assert after.defect_u < 1e-6


def test_telemetry_is_a_copy():
    model, optimizer, sampler = trained(steps=1)
    then = sampler.telemetry()["0.weight"].sigma.clone()
    snapshot = sampler.telemetry()["0.weight"].sigma
    train(model, optimizer, range(1, 5))
    assert torch.equal(snapshot, then)


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "low"),
    [("steps_per_iteration", 0, 1), ("iterations_per_round", 0, 1), ("warmup_steps", -1, 0), ("stagger", -2, 0)],
)
def test_numbers_out_of_range_are_refused(option, value, low):
    model = small_model()
    with pytest.raises(ValueError, match=rf"`{option}` must be at least {low}, got {value}"):
        SSTSampler(model, build_optimizer("adamw", model), **{option: value})


def test_a_model_without_spectral_weights_is_refused():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="`model` must have spectral weights, but Linear has none"):
        SSTSampler(model, torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize("missing", ["sigma", "vectors"])
def test_an_optimizer_that_lacks_spectral_parameters_is_refused(missing):
    model = small_model()
    groups = [g for g in hypersst.param_groups(model, lr=0.1) if g["role"] != missing]
    with pytest.raises(
        ValueError, match=r"`optimizer` must hold the singular values and active vectors of '0\.weight'"
    ):
        SSTSampler(model, torch.optim.SGD(groups))


def test_an_optimizer_built_before_spectralize_is_refused():
    model = nn.Sequential(nn.Linear(8, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hypersst.spectralize(model, rank=2)
    with pytest.raises(ValueError, match="build it after"):
        SSTSampler(model, optimizer, warmup_steps=0)


def test_a_group_that_mixes_parameters_is_refused_only_where_it_would_warm_up():
    model = small_model()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with pytest.raises(ValueError, match=r"`optimizer` must not mix .* in group 0.*`warmup_steps=0`"):
        SSTSampler(model, optimizer)
    SSTSampler(model, optimizer, warmup_steps=0)


def test_a_refused_sampler_leaves_no_hook_behind():
    model = small_model()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with pytest.raises(ValueError, match="mix"):
        SSTSampler(model, optimizer)
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: small_model(rank=3), "'0.weight' has rank 2 there and 3 here"),
        (lambda: small_model(include=["0"]), "differs in 2.weight"),
        (lambda: nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4)), "same ranks, but '2.weight'"),
    ],
)
def test_the_state_of_another_model_is_refused_and_nothing_changes(change, message):
    _, _, theirs = trained(steps=4)
    model = change()
    if not spectral_weights(model):
        hypersst.spectralize(model, rank=2)
    sampler = SSTSampler(model, build_optimizer("adamw", model), selection=Uniform())
    index = [w.spectral.index.clone() for w in spectral_weights(model)]
    with pytest.raises(ValueError, match=message):
        sampler.load_state_dict(theirs.state_dict())
    assert sampler.step_count == 0
    assert all(torch.equal(a, w.spectral.index) for a, w in zip(index, spectral_weights(model), strict=True))
