"""LoRA starts at the weight, moves by its two factors alone, and becomes a plain weight again."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from spectral_cases import relative
from torch import Tensor, nn
from torch.nn.utils import parametrize

import hypersst
from hypersst.lowrank import LoRA, lora, lora_weights


def linear(shape=(6, 8), rank=2, scale=1.0, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(shape[1], shape[0])).to(dtype)
    lora(model, rank, scale=scale)
    return model


def only(model):
    [weight] = lora_weights(model)
    return weight


@torch.no_grad()
def unsettle(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for weight in lora_weights(model):
        weight.lora.b.copy_(torch.randn(weight.lora.b.shape, generator=generator, dtype=torch.float64))


def scalar(y):
    return (y.sin() * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum()


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("make", [lambda: nn.Linear(8, 6), lambda: nn.Conv1d(8, 6, 3)], ids=["linear", "conv"])
def test_the_weight_is_unchanged_at_the_start(make, mode, scale):
    torch.manual_seed(0)
    model = nn.Sequential(make()).train(mode)
    x = torch.randn(5, 8) if isinstance(model[0], nn.Linear) else torch.randn(2, 8, 7)
    weight, expected = model[0].weight.detach().clone(), model(x)
    lora(model, 2, scale=scale)
    assert torch.equal(model[0].weight, weight)
    torch.testing.assert_close(model(x), expected)
    assert not only(model).lora.b.any()
    assert only(model).lora.a.any()
    assert only(model).lora.training == mode


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("shape", [(12, 12), (20, 7), (7, 20), (16, 1433)], ids=str)
def test_values_and_gradients_equal_autograd_on_the_dense_product(shape, scale):
    model = linear(shape, 3, scale)
    unsettle(model)
    weight, layer = only(model), model[0]
    frozen = weight.frozen.detach().clone()
    a, b = (p.detach().clone().requires_grad_() for p in (weight.lora.a, weight.lora.b))
    x = torch.randn(4, 5, shape[1], dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    y, dense = model(x), F.linear(twin, frozen + scale * (b @ a), layer.bias.detach())
    assert relative(y, dense) < 1e-10
    scalar(y).backward()
    scalar(dense).backward()
    for ours, theirs in ((weight.lora.a, a), (weight.lora.b, b), (x, twin)):
        assert relative(ours.grad, theirs.grad) < 1e-10
    assert weight.frozen.grad is None


def test_a_convolution_is_its_flattened_matrix():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3)).double()
    lora(model, 2)
    unsettle(model)
    weight = only(model)
    assert weight.lora.a.shape == (2, 36)
    assert weight.lora.b.shape == (6, 2)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    dense = weight.frozen + (weight.lora.b @ weight.lora.a).view(6, 4, 3, 3)
    torch.testing.assert_close(model(x), F.conv2d(x, dense, model[0].bias))


def test_only_the_two_factors_and_the_untouched_parameters_train():
    model = linear()
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "0.bias",
        "0.parametrizations.weight.0.a",
        "0.parametrizations.weight.0.b",
    }
    frozen = only(model).frozen.detach().clone()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = model[0].weight.detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        scalar(model(torch.randn(9, 8, dtype=torch.float64))).backward()
        optimizer.step()
    assert torch.equal(only(model).frozen, frozen)
    assert int(torch.linalg.matrix_rank(model[0].weight.detach() - before)) == 2


def test_the_first_gradient_of_a_is_zero_and_that_of_b_is_not():
    # dL/dA = Bᵀ G with B = 0: the saddle at which every restart of ReLoRA begins.
    model = linear()
    scalar(model(torch.randn(9, 8, dtype=torch.float64))).backward()
    assert not only(model).lora.a.grad.any()
    assert only(model).lora.b.grad.any()


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_merging_keeps_the_outputs_and_leaves_a_plain_trainable_weight(mode):
    model = linear(scale=0.5).train(mode)
    unsettle(model)
    x = torch.randn(5, 8, dtype=torch.float64)
    expected = model(x)
    hypersst.merge(model)
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert type(model[0]) is nn.Linear
    assert sorted(model.state_dict()) == ["0.bias", "0.weight"]
    assert model[0].weight.requires_grad
    assert not lora_weights(model)


def test_a_frozen_weight_stays_frozen_in_all_its_parts():
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 5))
    model[0].weight.requires_grad_(False)
    lora(model, 2)
    assert not any(p.requires_grad for p in model[0].parametrizations.parameters())
    hypersst.merge(model)
    assert not model[0].weight.requires_grad
    assert model[1].weight.requires_grad


def test_entries_of_a_have_variance_one_over_its_columns():
    # 64 · 1000 entries: their mean square is 1/n up to √(2/64000) = 0.6 %; four of those.
    model = nn.Sequential(nn.Linear(1000, 64))
    lora(model, 64, generator=torch.Generator().manual_seed(0))
    a = only(model).lora.a.detach()
    assert float(a.square().mean()) * 1000 == pytest.approx(1.0, abs=0.025)
    assert abs(float(a.mean())) * 1000**0.5 < 4 / 64000**0.5


def test_draws_come_from_the_generator_that_is_given():
    def factors(seed):
        torch.manual_seed(99)
        model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 6))
        state = torch.get_rng_state()
        lora(model, 2, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), state)
        return [w.lora.a.detach().clone() for w in lora_weights(model)]

    assert all(torch.equal(a, b) for a, b in zip(factors(1), factors(1), strict=True))
    assert not torch.equal(factors(1)[0], factors(2)[0])


@pytest.mark.parametrize(("rank", "kept"), [(2, 2), (99, 6), (0.5, 3), (0.01, 1)])
def test_ranks_are_numbers_capped_or_shares(rank, kept):
    model = nn.Sequential(nn.Linear(8, 6))
    report = lora(model, rank)
    assert report.layers[0].rank == kept == only(model).lora.a.shape[0]
    assert f"6x8, rank={kept}, scale=1" in repr(only(model).lora)


def test_a_copy_and_a_checkpoint_give_the_same_outputs():
    model = linear()
    unsettle(model)
    x = torch.randn(5, 8, dtype=torch.float64)
    expected = model(x)
    twin = copy.deepcopy(model)
    hypersst.merge(twin)
    torch.testing.assert_close(twin(x), expected)
    assert torch.equal(model(x), expected)
    other = linear(seed=4)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), expected)


def test_assigning_a_weight_starts_there_without_sharing_its_memory():
    model = linear()
    unsettle(model)
    w = torch.randn(6, 8, dtype=torch.float64)
    model[0].weight = w
    assert torch.equal(model[0].weight, w)
    only(model).lora.restart(only(model).frozen, torch.Generator())
    with torch.no_grad():
        only(model).frozen.zero_()
    assert w.any()
    with pytest.raises(ValueError, match=r"`weight` must flatten to \(6, 8\), got \(1, 8\)"):
        model[0].weight = torch.zeros(1, 8, dtype=torch.float64)


def test_autocast_gives_float32_gradients():
    model = linear(dtype=torch.float32)
    unsettle(model)
    x = torch.randn(5, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    scalar(y.float()).backward()
    for tensor in (x, only(model).lora.a, only(model).lora.b):
        assert tensor.grad.dtype == torch.float32
        assert tensor.grad.isfinite().all()


def test_a_second_parametrization_sees_the_weight_of_the_first():
    class Twice(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    model = linear()
    unsettle(model)
    x, weight = torch.randn(5, 8, dtype=torch.float64), model[0].weight.detach().clone()
    parametrize.register_parametrization(model[0], "weight", Twice())
    torch.testing.assert_close(model(x), F.linear(x, 2 * weight, model[0].bias))


def test_rows_are_multiplied_by_the_factors_without_building_the_weight():
    model = linear()
    built = []
    only(model).lora.register_forward_hook(lambda *_: built.append(1))
    model(torch.randn(3, 8, dtype=torch.float64))
    assert not built
    assert isinstance(only(model).lora, LoRA)


@pytest.mark.parametrize("rank", [0, -1, 0.0, 1.5])
def test_ranks_out_of_range_are_refused_and_nothing_changes(rank):
    model = nn.Sequential(nn.Linear(8, 6))
    with pytest.raises(ValueError, match=rf"`rank` .* got {rank}"):
        lora(model, rank)
    assert type(model[0]) is nn.Linear
    assert model[0].weight.requires_grad
