"""Moments held in eight bits: torchao's optimizers, which step without a change to the sampler."""

from __future__ import annotations

import warnings

import pytest
import torch
from spectral_cases import without_rates
from torch import nn

import hypersst
from hypersst.spectral import SSTSampler, spectral_weights
from hypersst.spectral.optimizer_state import clear_state


class _NoFill(torch.Tensor):
    """Like a quantised moment, it can be copied into and not filled."""

    def fill_(self, value):
        raise NotImplementedError

    zero_ = fill_


def test_moments_that_cannot_be_filled_are_cleared_in_place():
    parameter = nn.Parameter(torch.ones(3, 4))
    optimizer = torch.optim.AdamW([parameter])
    parameter.square().sum().backward()
    optimizer.step()
    held = torch.ones(3, 4).as_subclass(_NoFill)
    optimizer.state[parameter]["exp_avg"] = held
    clear_state(optimizer, parameter)
    assert optimizer.state[parameter]["exp_avg"] is held
    assert not held.as_subclass(torch.Tensor).any()
    assert optimizer.state[parameter]["step"] == 0


@pytest.fixture
def adamw8bit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports use what torch deprecates
        optim = pytest.importorskip("torchao.optim")
    # It compiles its update of a parameter, for tens of seconds; the arithmetic is the same without.
    torch.compiler.set_stance("force_eager")
    yield optim.AdamW8bit
    torch.compiler.set_stance("default")


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_the_sampler_clears_eight_bit_moments_of_drawn_vectors(adamw8bit, storage):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256))
    hypersst.spectralize(model, rank=32, storage=storage)
    optimizer = adamw8bit(without_rates(hypersst.param_groups(model, lr=0.0)), lr=1e-3)
    SSTSampler(model, optimizer, steps_per_iteration=4, warmup_steps=0)
    x = torch.randn(32, 256)
    losses = []

    def step():
        optimizer.zero_grad()
        loss = (model(x) - x.sin()).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    for _ in range(3):
        step()
    vectors = spectral_weights(model)[0].spectral.u_active
    moments = {name: optimizer.state[vectors][name] for name in ("exp_avg", "exp_avg_sq")}
    assert all(type(m).__name__ == "OptimState8bit" and m.dequantize().abs().max() > 0 for m in moments.values())
    step()  # draws
    for name, held in moments.items():
        assert optimizer.state[vectors][name] is held
        assert held.dequantize().abs().max() == 0
    assert optimizer.state[vectors]["step"] == 0
    for _ in range(36):
        step()
    assert losses[-1] < 0.8 * losses[0]
