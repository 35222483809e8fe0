"""Frozen vectors in fewer bits: how far the weight moves, and that nothing else does."""

from __future__ import annotations

import copy
import functools
import io
import math

import pytest
import torch
from spectral_cases import build_optimizer, only, relative, small_model, train, trained, unsettle, weights_of
from torch import nn

import hypersst
from hypersst.lowrank import lora
from hypersst.spectral import SSTSampler, decompose, spectral, spectral_weights
from hypersst.spectral.spectral_weight import spectral_of
from hypersst.spectral.storage import BLOCK, decode, encode, stored_bytes

COMPACT = ("bfloat16", "int8")
# Measured for whole weights (docs/memory.md): 0.002 and 0.009, with outliers 0.015.
MOVES = {"float32": 1e-6, "bfloat16": 0.004, "int8": 0.02}
SIDES = (1, 5, 127, 128, 129, 300, 384)


def naive_int8(rows):
    """One number after the other."""
    held, scales = torch.zeros(rows.shape, dtype=torch.int8), []
    for i, row in enumerate(rows.tolist()):
        scales.append([])
        for start in range(0, len(row), BLOCK):
            block = row[start : start + BLOCK]
            scale = torch.tensor(max(abs(x) for x in block) / 127, dtype=torch.float32).item()
            scales[-1].append(scale)
            for j, x in enumerate(block):
                held[i, start + j] = round(x / scale) if scale else 0
    return held, torch.tensor(scales)


def layer_of(kind, storage, shape=(96, 300), **options):
    """A layer whose weight is random, has a trained one's spectrum, or a few large rows and columns."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    if kind == "trained":
        u, s, v = decompose(weight)
        weight = (u * torch.arange(1, len(s) + 1).pow(-0.7)[:, None]).t() @ v
    if kind == "outliers":
        large = [torch.randn(n, generator=generator).mul(1.5).exp() for n in shape]
        weight = weight * large[0][:, None] * large[1]
    layer = nn.Linear(shape[1], shape[0])
    layer.weight.detach().copy_(weight)
    return spectral(layer, rank=12, storage=storage, **options), weight


# -- rounding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIDES)
def test_int8_is_the_nearest_multiple_of_the_scale_of_its_block(n):
    rows = torch.randn(4, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    rows[1] = 0.0
    held, scale = encode(rows, "int8")
    naive, scales = naive_int8(rows)
    assert torch.equal(held, naive)
    assert torch.equal(scale, scales)
    assert held.dtype == torch.int8
    assert scale.shape == (4, math.ceil(n / BLOCK))
    back = decode(held, scale, torch.float64)
    assert torch.equal(back[1], rows[1])
    # Half a step: a 254th of the largest magnitude, and float32's rounding of the scale.
    assert (back - rows).abs().max() <= rows.abs().max() / 254 * (1 + 1e-5)
    assert stored_bytes(4, n, 8, "int8") == held.nbytes + scale.nbytes


def test_bfloat16_is_rounded_to_nearest_and_float32_is_left_alone():
    rows = torch.randn(3, 7)
    held, scale = encode(rows, "bfloat16")
    assert scale is None
    assert torch.equal(held, rows.to(torch.bfloat16))
    assert torch.equal(decode(held, None, torch.float32), held.float())
    assert encode(rows, "float32") == (rows, None)
    assert stored_bytes(3, 7, 4, "bfloat16") == held.nbytes
    assert stored_bytes(3, 7, 4, "float32") == rows.nbytes


@pytest.mark.parametrize("storage", COMPACT)
def test_what_has_been_rounded_once_is_not_rounded_further(storage):
    once = decode(*encode(torch.randn(5, 200), storage), torch.float32)
    torch.testing.assert_close(decode(*encode(once, storage), torch.float32), once, rtol=1e-6, atol=0)


# -- how far the weight moves --------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", MOVES)
@pytest.mark.parametrize("kind", ["random", "trained", "outliers"])
def test_the_weight_moves_by_the_documented_share_at_most(kind, storage):
    layer, weight = layer_of(kind, storage)
    p = spectral_of(layer)
    assert relative(layer.weight, weight) < MOVES[storage]
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        p.activate(torch.randperm(p.k, generator=generator)[: p.rank])
        for rows in (p.u_active, p.v_active):
            rows.detach().add_(0.3 * torch.randn(rows.shape, generator=generator) / rows.shape[1] ** 0.5)
        p.write_back(normalize=True)
        before = layer.weight.detach().clone()
        p.activate(torch.randperm(p.k, generator=generator)[: p.rank])
        moved = relative(layer.weight, before)
        assert moved == 0.0 if storage == "float32" else 0.0 < moved < MOVES[storage]
    before = layer.weight.detach().clone()
    p.redecompose(layer.parametrizations.weight.original)
    moved = relative(layer.weight, before)
    assert moved < MOVES[storage]
    if storage != "float32":
        assert moved > MOVES[storage] / 20


@pytest.mark.parametrize("storage", COMPACT)
def test_active_rows_are_exact_and_frozen_ones_are_rounded(storage):
    model = small_model(storage=storage)
    p = spectral_weights(model)[0].spectral
    p.activate(torch.tensor([4, 1]))
    with torch.no_grad():
        p.u_active.copy_(torch.linspace(-1, 1, 12).view(2, 6))
        p.v_active.copy_(torch.linspace(-2, 1, 16).view(2, 8))
    u, v = p.rows
    assert torch.equal(u[[4, 1]], p.u_active)
    assert torch.equal(v[[4, 1]], p.v_active)
    for row in (0, 2, 3, 5):
        assert torch.equal(u[row], decode(p.u, p.u_scale, torch.float32)[row])
    dense = u.t() @ torch.diag(spectral_weights(model)[0].sigma.detach()) @ v
    torch.testing.assert_close(model[0].weight.detach(), dense)


@pytest.mark.parametrize("storage", COMPACT)
def test_a_row_that_is_drawn_again_keeps_its_value(storage):
    model = small_model(storage=storage)
    weight = spectral_weights(model)[0]
    unsettle(weight)
    p = weight.spectral
    p.activate(torch.tensor([4, 1]))
    p.u_active.detach().mul_(0.987)
    kept, before = p.u_active[1].detach().clone(), model[0].weight.detach().clone()
    p.activate(torch.tensor([1, 4]))  # the same rows
    assert torch.equal(model[0].weight, before) or relative(model[0].weight, before) < 1e-6
    p.activate(torch.tensor([1, 3]))
    assert torch.equal(p.u_active[0], kept)


@pytest.mark.parametrize("storage", COMPACT)
@pytest.mark.parametrize("name", ["adamw", "riemannian-adam"])
def test_between_draws_a_step_moves_the_weight_as_in_float32(name, storage):
    compact = small_model(storage=storage)
    exact = copy.deepcopy(compact)
    for weight in spectral_weights(exact):  # the same rounded values, held in float32
        p, rows = weight.spectral, [rows.clone() for rows in weight.spectral.rows]
        p.storage = "float32"
        p._hold(*rows)
    for model in (compact, exact):
        train(model, build_optimizer(name, model), range(3))
    for ours, theirs in zip(weights_of(compact), weights_of(exact), strict=True):
        assert relative(ours, theirs) < 1e-6


# -- training ------------------------------------------------------------------------------------------------


@functools.cache
def final_loss(storage):
    """Of regression on a linear map, after 12 draws and 4 decompositions, the mean of eight seeds."""
    total = 0.0
    for seed in range(8):
        model, generator = small_model(rank=2, seed=seed, storage=storage), torch.Generator().manual_seed(seed)
        x = torch.randn(64, 8, generator=generator)
        target = x @ torch.randn(8, 5, generator=generator) / 4
        optimizer = build_optimizer("adamw", model)
        SSTSampler(model, optimizer, steps_per_iteration=10, warmup_steps=2)
        for _ in range(120):
            optimizer.zero_grad()
            loss = (model(x) - target).square().mean()
            loss.backward()
            optimizer.step()
        total += loss.item() / 8
    return total


@pytest.mark.parametrize("storage", COMPACT)
def test_training_with_draws_and_decompositions_reaches_the_loss_of_float32(storage):
    # Of 40 seeds the mean is 0.041 and its standard error 0.004; the mean square of the target is near 0.5.
    assert final_loss(storage) < 1.5 * final_loss("float32") < 0.1


@pytest.mark.parametrize("storage", COMPACT)
@pytest.mark.parametrize("vectors", ["sphere", "ambient", "stiefel"])
def test_telemetry_and_every_kind_of_vector_work(vectors, storage):
    model = small_model(storage=storage, vectors=vectors)
    optimizer = build_optimizer("adamw", model)
    sampler = SSTSampler(model, optimizer, steps_per_iteration=3, warmup_steps=0)
    train(model, optimizer, range(7))
    for weight in spectral_weights(model):
        for rows in (weight.spectral.u_active, weight.spectral.v_active):
            assert (rows.norm(dim=1) - 1).abs().max() < 1e-5
    for layer in sampler.telemetry().values():
        assert 0 < layer.defect_u < 1
        assert layer.sigma.isfinite().all()


# -- as a module ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", COMPACT)
def test_the_layout_is_the_documented_one(storage):
    model = nn.Sequential(nn.Linear(300, 6, bias=False))
    hypersst.spectralize(model, rank=2, storage=storage)
    prefix = "0.parametrizations.weight"
    held = getattr(torch, storage)
    expected = {
        f"{prefix}.original": ((6,), torch.float32),
        f"{prefix}.0.u": ((6, 6), held),
        f"{prefix}.0.v": ((6, 300), held),
        f"{prefix}.0.u_active": ((2, 6), torch.float32),
        f"{prefix}.0.v_active": ((2, 300), torch.float32),
        f"{prefix}.0.index": ((2,), torch.int64),
    }
    if storage == "int8":
        expected |= {f"{prefix}.0.u_scale": ((6, 1), torch.float32), f"{prefix}.0.v_scale": ((6, 3), torch.float32)}
    assert {name: (tuple(t.shape), t.dtype) for name, t in model.state_dict().items()} == expected
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == {
        f"{prefix}.0.{name}" for name in ("u", "v", *(("u_scale", "v_scale") if storage == "int8" else ()))
    }
    assert repr(only(model).spectral).endswith(f"{storage})")


@pytest.mark.parametrize("storage", COMPACT)
def test_parameter_objects_never_change_identity(storage):
    model, optimizer, _ = trained(steps=0, model=small_model(storage=storage))
    before = dict(model.named_parameters())
    train(model, optimizer, range(20))
    model.load_state_dict(copy.deepcopy(model.state_dict()))
    assert all(p is before[name] for name, p in model.named_parameters())


@pytest.mark.parametrize("storage", COMPACT)
def test_a_resumed_run_ends_as_the_unbroken_one_bit_for_bit(storage):
    whole, _, _ = trained(steps=20, model=small_model(storage=storage))
    first, optimizer, sampler = trained(steps=8, model=small_model(storage=storage))
    buffer = io.BytesIO()
    torch.save(
        {"model": first.state_dict(), "optimizer": optimizer.state_dict(), "sampler": sampler.state_dict()}, buffer
    )
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    second, optimizer, sampler = trained(steps=0, model=small_model(seed=9, storage=storage))
    second.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    sampler.load_state_dict(saved["sampler"])
    train(second, optimizer, range(8, 20))
    for ours, theirs in zip(second.state_dict().values(), whole.state_dict().values(), strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("storage", COMPACT)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_casts_leave_rows_and_scales_as_they_are(dtype, storage):
    model, _, _ = trained(steps=4, model=small_model(storage=storage))
    before, weights = {n: t.clone() for n, t in model.state_dict().items()}, weights_of(model)
    model.to(dtype)
    for name, tensor in model.state_dict().items():
        own = name.rpartition(".")[2] in ("u", "v", "u_scale", "v_scale")
        assert tensor.dtype == (before[name].dtype if own or name.endswith("index") else dtype)
        # In bfloat16 the active rows are written among the frozen ones of the same type.
        if own and (dtype, storage) != (torch.bfloat16, "bfloat16"):
            assert torch.equal(tensor, before[name])
    for ours, theirs in zip(weights_of(model), weights, strict=True):
        assert ours.dtype == dtype
        assert relative(ours, theirs) < 8 * torch.finfo(dtype).eps + 1e-6
    if dtype != torch.float16:  # the epsilon of AdamW is zero there
        train(model, build_optimizer("adamw", model), range(2))
    model.float()
    assert spectral_weights(model)[0].spectral.u.dtype == getattr(torch, storage)
    assert all(w.isfinite().all() for w in weights_of(model))


@pytest.mark.parametrize("storage", COMPACT)
def test_moving_to_another_device_keeps_types(storage):
    model = small_model(storage=storage)
    before = {name: t.dtype for name, t in model.state_dict().items()}
    assert {name: t.dtype for name, t in model.to("meta").state_dict().items()} == before


@pytest.mark.parametrize("storage", COMPACT)
def test_evaluation_never_returns_a_stale_weight(storage):
    model, x = small_model(storage=storage), torch.randn(3, 8)
    p = spectral_weights(model)[0].spectral
    changes = (
        lambda: p.u_active.detach().mul_(0.9),
        lambda: p.u.detach()[5].zero_(),
        lambda: p.index.copy_(torch.tensor([3, 4])),
        *([lambda: p.v_scale.detach().mul_(2)] if storage == "int8" else []),
    )
    model.eval()
    with torch.no_grad():
        for change in changes:
            stale = model(x)
            change()
            fresh = model(x)
            assert not torch.equal(fresh, stale)
            torch.testing.assert_close(fresh, copy.deepcopy(model).train()(x))


@pytest.mark.parametrize("storage", COMPACT)
def test_copies_merging_and_truncation_go_from_the_weight_as_it_is(storage):
    model, _, _ = trained(steps=7, model=small_model(storage=storage))
    x, weights = torch.randn(3, 8), weights_of(model)
    y = model(x).detach()
    assert torch.equal(copy.deepcopy(model)(x), y)
    short = copy.deepcopy(model)
    for entry, weight in zip(hypersst.truncate(short, rank=3), weights, strict=True):
        u, s, v = decompose(weight)
        assert entry.error == pytest.approx(s[3:].norm().item(), rel=1e-5)
        assert relative((u[:3] * s[:3, None]).t() @ v[:3], weight) == pytest.approx(entry.relative, rel=1e-4)
    assert all(w.spectral.u is None for w in spectral_weights(short))
    hypersst.merge(model)
    torch.testing.assert_close(model(x), y)


@pytest.mark.parametrize("storage", COMPACT)
def test_where_every_vector_trains_nothing_is_rounded(storage):
    torch.manual_seed(0)
    layer = nn.Linear(8, 6)
    weight = layer.weight.detach().clone()
    spectral(layer, rank=6, storage=storage)
    p = spectral_of(layer)
    assert (p.u, p.v, p.u_scale, p.v_scale) == (None, None, None, None)
    assert relative(layer.weight, weight) < 1e-6


@pytest.mark.parametrize("storage", COMPACT)
def test_assigning_a_weight_rounds_it(storage):
    layer = spectral(nn.Linear(8, 6), rank=2, storage=storage)
    w = torch.randn(6, 8)
    layer.weight = w
    assert 0 < relative(layer.weight, w) < MOVES[storage]
    layer.double()
    layer.weight = w.double()
    assert spectral_of(layer).u.dtype == getattr(torch, storage)


@pytest.mark.parametrize("storage", ["float32", *COMPACT])
def test_predicted_bytes_are_those_that_are_held(storage):
    model = nn.Sequential(nn.Linear(300, 40), nn.Linear(40, 20))
    report = hypersst.spectralize(model, rank=5, storage=storage)
    assert report.memory("sst").weights == sum(p.nbytes for p in model.parameters())
    assert report.memory("sst").gradients == sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert report == hypersst.spectral.report(model)
    other = nn.Sequential(nn.Linear(300, 40), nn.Linear(40, 20))
    assert lora(other, rank=5).memory("lora") == report.memory("lora")


def test_the_ways_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="`storage` must be one of float32, bfloat16, int8, got 'int4'"):
        spectral(nn.Linear(4, 4), rank=2, storage="int4")
    with pytest.raises(ValueError, match="`storage` must be float32 with `vectors` 'polar'"):
        spectral(nn.Linear(4, 4), rank=2, storage="int8", vectors="polar")
