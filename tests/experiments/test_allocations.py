"""The tracker sees what a hand computes."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from hypersst.experiments.allocations import AllocationTracker

FLOAT = 4


def test_views_count_once_and_memory_ends_with_its_last_view() -> None:
    with AllocationTracker() as memory:
        x = torch.zeros(10, 20)
        y = x.t()[3:]
        assert memory.live == 200 * FLOAT
        del x
        assert memory.live == 200 * FLOAT
        del y
        assert memory.live == 0
        assert memory.peak == 200 * FLOAT
        memory.reset_peak()
        assert memory.peak == 0


def test_the_peak_is_of_what_lives_together() -> None:
    with AllocationTracker() as memory:
        x = torch.ones(100)
        y = x * 2 + 1  # the product lives while the sum is made
        assert memory.peak == 300 * FLOAT
        assert memory.live == 200 * FLOAT
        y += 1
        assert memory.live == 200 * FLOAT


def test_what_is_held_before_counts_if_it_is_named() -> None:
    held = torch.ones(100)
    with AllocationTracker([held, held[:50]]) as memory:
        assert memory.live == 100 * FLOAT
        held.mul_(2)
        del held
        assert memory.live == 0


@pytest.mark.parametrize("rows", [1, 7])
def test_the_saved_activations_of_a_network_are_those_of_the_books(rows: int) -> None:
    a, b, c = 11, 13, 5
    model = nn.Sequential(nn.Linear(a, b), nn.Tanh(), nn.Linear(b, c))
    x = torch.randn(rows, a)
    with AllocationTracker([*model.parameters(), x]) as memory:
        weights = memory.live - x.nbytes
        assert weights == ((a + 1) * b + (b + 1) * c) * FLOAT
        loss = model(x).square().sum()
        # The result of tanh, which it and the second layer keep, and the result of the network, which the square keeps;
        # the first layer's result is gone. And the loss.
        assert memory.live - weights - x.nbytes == (rows * b + rows * c + 1) * FLOAT
        loss.backward()
        del loss
        gc.collect()
        assert memory.live == 2 * weights + x.nbytes  # gradients stay


def test_a_frozen_layer_keeps_no_input() -> None:
    model = nn.Linear(30, 40).requires_grad_(False)
    x = torch.randn(5, 30, requires_grad=True)
    with AllocationTracker([*model.parameters(), x]) as memory:
        before = memory.live
        y = model(x * 2)  # the product is gone: nobody asks for the gradient of the weight, or of 2
        assert memory.live - before == 5 * 40 * FLOAT
        del y
        assert memory.live == before
