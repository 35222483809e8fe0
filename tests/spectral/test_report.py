"""Predicted numbers and bytes are the measured ones."""

from __future__ import annotations

import pytest
import torch
from spectral_cases import trained
from torch import nn

import hypersst
from hypersst.lowrank import lora, lora_weights
from hypersst.spectral import LayerReport, SpectralReport, report, spectral_weights


def model_of(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 12), nn.LayerNorm(12), nn.Linear(12, 12), nn.Conv1d(12, 6, 3)).to(dtype)


def forward(model):
    x = torch.randn(5, 7, 20, dtype=next(model.parameters()).dtype)
    return model[3](model[:3](x).transpose(1, 2)).square().mean()


def step(model, groups, optimizer=torch.optim.Adam):
    optimizer = optimizer(groups, lr=1e-3)
    forward(model).backward()
    optimizer.step()
    return optimizer


def size(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def state_bytes(optimizer):
    moments = ("exp_avg", "exp_avg_sq")  # not the step counts
    return size(state[key] for state in optimizer.state.values() for key in moments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rank", [1, 3, 0.5, 6, 99])
def test_predicted_bytes_are_those_of_a_step_with_adam(rank, dtype):
    model = model_of(dtype)
    result = hypersst.spectralize(model, rank=rank)
    optimizer = step(model, hypersst.param_groups(model, lr=1e-3))
    predicted = result.memory("sst")
    parameters = list(model.parameters())
    assert predicted.weights == size(parameters)
    assert predicted.gradients == size(p.grad for p in parameters if p.grad is not None)
    assert predicted.states == state_bytes(optimizer)
    assert predicted.total == predicted.weights + predicted.gradients + predicted.states
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    assert result.trainable == trained == predicted.gradients // dtype.itemsize


def test_predicted_bytes_of_full_rank_and_lora_are_measured_too():
    plain = model_of()
    optimizer = step(plain, plain.parameters())
    prediction = hypersst.spectralize(model_of(), rank=2)
    full = prediction.memory("full")
    assert full.weights == full.gradients == size(plain.parameters())
    assert full.states == state_bytes(optimizer)

    model = model_of()
    assert lora(model, rank=2).memory("lora") == prediction.memory("lora")
    optimizer = step(model, [p for p in model.parameters() if p.requires_grad])
    low = prediction.memory("lora")
    assert low.weights == size(model.parameters())
    assert low.gradients == size(p.grad for p in model.parameters() if p.grad is not None)
    assert low.states == state_bytes(optimizer)
    assert len(lora_weights(model)) == 3


@pytest.mark.parametrize(("m", "n", "r"), [(12, 12, 3), (16, 1433, 1), (1433, 16, 2), (7, 20, 7)])
def test_numbers_follow_their_formulas(m, n, r):
    k = min(m, n)
    row = LayerReport("w", (m, n), r, k, 4)
    assert row.trainable == r * (m + n) + k
    assert row.stored == k * (m + n) + k
    assert row.dense == m * n
    twice = r * (m + n) if r < k else 0
    expected = {
        "full": (m * n, m * n, 2 * m * n),
        "sst": (k * (m + n) + k + twice, r * (m + n) + k, 2 * (r * (m + n) + k)),
        "lora": (m * n + r * (m + n), r * (m + n), 2 * r * (m + n)),
        "galore": (m * n, m * n, k * r + 2 * max(m, n) * r),
    }
    for method, (weights, gradients, states) in expected.items():
        memory = row.memory(method)
        assert (memory.weights, memory.gradients, memory.states) == (4 * weights, 4 * gradients, 4 * states)


def test_shares_of_the_paper_are_reproduced():
    # Zhao et al. (2025): 18.75 % and 31.25 % for 16x16 at ranks 1 and 2.
    for rank, share in ((1, 0.1875), (2, 0.3125)):
        row = LayerReport("w", (16, 16), rank, 16, 4)
        assert row.trainable / row.dense == share


def test_the_table_names_every_weight_and_method():
    model = model_of()
    text = str(hypersst.spectralize(model, rank=3, rank_pattern={"3": 6}))
    for word in ("0.weight", "2.weight", "3.weight", "12x20", "6x36", "3 of 12", "6 of 6", "all vectors train"):
        assert word in text
    for method in ("full", "sst", "lora", "galore"):
        assert any(line.startswith(method) for line in text.splitlines())
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_the_report_of_a_trained_model_is_that_of_spectralize():
    model, _, _ = trained(steps=5)
    assert report(model) == SpectralReport(
        layers=(LayerReport("0.weight", (6, 8), 2, 6, 4), LayerReport("2.weight", (5, 6), 2, 5, 4)),
        other=11,
        other_bytes=44,
    )
    assert len(spectral_weights(model)) == 2


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="`method` must be one of full, sst, lora, galore, got 'dora'"):
        LayerReport("w", (3, 4), 1, 3, 4).memory("dora")
