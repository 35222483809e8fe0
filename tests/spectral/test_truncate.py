"""Truncation is the best approximation of its rank, and says how good that is."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from spectral_cases import only, relative, trained
from torch import nn

import hypersst
from hypersst.spectral import Spectral, SSTSampler, spectral_weights, truncate

SHAPES = [(12, 12), (20, 7), (7, 20), (16, 1433), (1, 5)]


def layer(shape, sigma=None, seed=0):
    """A linear layer in float64, of given singular values if any."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(shape[1], shape[0])).double()
    if sigma is not None:
        u, _, v = torch.linalg.svd(model[0].weight.detach(), full_matrices=False)
        with torch.no_grad():
            model[0].weight.copy_((u * torch.tensor(sigma, dtype=torch.float64)) @ v)
    return model


def prepared(model, how):
    """The model as it is, made spectral, or trained spectrally until its vectors are not orthonormal."""
    if how == "plain":
        return model
    hypersst.spectralize(model, rank=1)
    if how == "trained":
        optimizer = torch.optim.AdamW(hypersst.param_groups(model, lr=0.05))
        sampler = SSTSampler(model, optimizer, steps_per_iteration=2, warmup_steps=0)
        x = torch.randn(9, only(model).spectral.shape[1], dtype=torch.float64)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
        sampler.detach()
    return model


@pytest.mark.parametrize("merged", [True, False], ids=["merged", "thin"])
@pytest.mark.parametrize("how", ["plain", "spectral", "trained"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_error_is_that_of_eckart_and_young(shape, how, merged):
    model = prepared(layer(shape), how)
    before = model[0].weight.detach().clone()
    values = torch.linalg.svdvals(before)
    rank = max(1, min(shape) // 3)
    [result] = truncate(model, rank=rank, merged=merged)
    after = model[0].weight.detach()
    expected = float(values[rank:].square().sum().sqrt())
    assert result.error == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert float((after - before).norm()) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert result.relative == pytest.approx(expected / float(before.norm()), rel=1e-9, abs=1e-12)
    assert int(torch.linalg.matrix_rank(after)) == rank == result.rank
    assert (result.name, result.shape) == ("0.weight", shape)


@pytest.mark.parametrize(
    ("sigma", "energy", "rank"),
    [
        ([2.0, 1, 1, 0], 1.0, 3),  # the whole energy ends where the zeros begin
        ([2.0, 1, 1, 0], 1e-9, 1),
        ([2.0, 1, 1, 0], 0.6, 1),  # 4 of 6
        ([2.0, 1, 1, 0], 4.5 / 6, 2),
        ([2.0, 1, 1, 0], 5.5 / 6, 3),
        ([3.0, 3, 3, 3], 0.5, 2),
        ([3.0, 3, 3, 3], 0.51, 3),
        ([5.0, 0, 0, 0], 1.0, 1),
        ([0.0, 0, 0, 0], 0.9, 1),
        ([0.0, 0, 0, 0], 1.0, 1),
    ],
)
def test_energy_keeps_the_fewest_values_that_reach_the_share(sigma, energy, rank):
    # Rounding of the decomposition must not count as energy: give it exact zeros and exact shares.
    model = nn.Sequential(nn.Linear(4, 4)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor(sigma)))
    [result] = truncate(model, energy=energy)
    assert result.rank == rank
    assert result.error == pytest.approx(math.sqrt(sum(s * s for s in sigma[rank:])), abs=1e-9)
    assert 0 <= result.relative <= 1


@pytest.mark.parametrize(("rank", "kept"), [(3, 3), (99, 7), (0.5, 4), (1.0, 7), (0.01, 1)])
def test_ranks_are_numbers_capped_or_shares_rounded_up(rank, kept):
    model = layer((7, 20))
    before = model[0].weight.detach().clone()
    [result] = truncate(model, rank=rank)
    assert result.rank == kept
    if kept == 7:
        assert result.error == 0
        assert relative(model[0].weight, before) < 1e-12


@pytest.mark.parametrize("how", ["plain", "trained"])
def test_thin_factors_hold_fewer_numbers_and_give_the_merged_outputs(how):
    m, n, r = 60, 50, 4
    thin, merged = prepared(layer((m, n)), how), prepared(layer((m, n)), how)
    truncate(thin, rank=r)
    truncate(merged, rank=r, merged=True)
    x = torch.randn(3, 5, n, dtype=torch.float64)
    for mode in (True, False):
        thin.train(mode)
        torch.testing.assert_close(thin(x), merged(x), rtol=1e-10, atol=1e-10)
        with torch.no_grad():
            torch.testing.assert_close(thin(x), merged(x), rtol=1e-10, atol=1e-10)
    held = sum(p.numel() for p in thin.parameters()) - thin[0].bias.numel()
    assert held == r * (m + n + 1)
    assert held < sum(p.numel() for p in merged.parameters())
    assert sum(t.numel() for t in thin.state_dict().values()) == held + m + r  # and bias and index
    assert not nn.utils.parametrize.is_parametrized(merged)


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_thin_factors_multiply_one_after_the_other(mode, monkeypatch):
    model = layer((60, 50)).train(mode)
    truncate(model, rank=4)
    calls = []
    monkeypatch.setattr(Spectral, "_compose", lambda *_: calls.append(1))
    with torch.no_grad():
        model(torch.randn(3, 50, dtype=torch.float64))
    assert not calls  # the weight was not built


def test_thin_factors_of_a_convolution_give_the_merged_outputs():
    def build():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(4, 9, 3)).double()

    thin, merged, x = build(), build(), torch.randn(2, 4, 7, 7, dtype=torch.float64)
    whole = build()[0].weight.flatten(1)
    [a], [b] = truncate(thin, rank=2), truncate(merged, rank=2, merged=True)
    assert a == b
    assert a.shape == (9, 36)
    torch.testing.assert_close(thin(x), merged(x))
    assert float((merged[0].weight.flatten(1) - whole).detach().norm()) == pytest.approx(a.error, rel=1e-9)


@pytest.mark.parametrize("name", ["adamw", "riemannian-adam"])
def test_thin_factors_train_through_decompositions_and_keep_their_rank(name):
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5))
    truncate(model, rank=2)
    model, _, sampler = trained(name, steps=20, model=model)  # a round is one iteration of three steps
    assert sampler.step_count == 20
    for weight in spectral_weights(model):
        assert weight.spectral.rank == weight.spectral.k == 2
        assert int(torch.linalg.matrix_rank(getattr(weight.module, weight.tensor).detach())) == 2
        for rows in weight.spectral.rows:
            assert (rows.detach().norm(dim=1) - 1).abs().max() < 1e-6
    x = torch.randn(3, 8)
    before = model(x)
    for weight in spectral_weights(model):
        weight.spectral.redecompose(weight.sigma)
    torch.testing.assert_close(model(x), before)
    twin = copy.deepcopy(model)
    torch.testing.assert_close(twin(x), before)
    twin.load_state_dict(model.state_dict())
    hypersst.merge(model)
    torch.testing.assert_close(model(x), before)


def test_truncating_again_cuts_further():
    model = layer((12, 10))
    values = torch.linalg.svdvals(model[0].weight.detach())
    truncate(model, rank=6)
    [result] = truncate(model, rank=3)
    assert result.error == pytest.approx(float(values[3:6].norm()), rel=1e-9)
    assert only(model).spectral.k == 3


def test_spectral_weights_are_the_default_and_patterns_choose_among_all():
    def build():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6))
        hypersst.spectralize(model, rank=1, include=["1", "2"])
        return model

    assert [t.name for t in truncate(build(), rank=2)] == ["1.weight", "2.weight"]
    assert [t.name for t in truncate(build(), rank=2, include=["1"])] == ["1.weight"]
    assert [t.name for t in truncate(build(), rank=2, exclude=["1"])] == ["2.weight"]
    assert sorted(t.name for t in truncate(build(), rank=2, include=["0", "1"])) == ["0.weight", "1.weight"]
    assert sorted(t.name for t in truncate(build(), rank=2, include="all-linear")) == [f"{i}.weight" for i in range(3)]
    plain = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    assert [t.name for t in truncate(plain, rank=2)] == ["0.weight", "1.weight"]


def test_the_weight_of_a_thin_layer_cannot_be_assigned():
    model = layer((6, 6))
    truncate(model, rank=2)
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match="`weight` holds 2 of 6 singular values"):
        model[0].weight = torch.randn(6, 6, dtype=torch.float64)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Exactly one of `rank` and `energy` must be given, got rank=None and energy=None"),
        ({"rank": 1, "energy": 0.5}, "Exactly one of `rank` and `energy` must be given, got rank=1 and energy=0.5"),
        ({"rank": 0}, "`rank` must be at least 1, got 0"),
        ({"rank": 1.5}, "`rank` as a fraction"),
        ({"energy": 0.0}, r"`energy` must lie in \(0, 1\], got 0.0"),
        ({"energy": 1.1}, r"`energy` must lie in \(0, 1\], got 1.1"),
        ({"energy": float("nan")}, r"`energy` must lie in \(0, 1\], got nan"),
        ({"rank": 1, "include": ["nothing"]}, "selects none"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_changes(options, message):
    model = layer((5, 6))
    hypersst.spectralize(model, rank=1)
    keys, before = list(model.state_dict()), model[0].weight.detach().clone()
    with pytest.raises(ValueError, match=message):
        truncate(model, **options)
    assert list(model.state_dict()) == keys
    assert torch.equal(model[0].weight, before)
