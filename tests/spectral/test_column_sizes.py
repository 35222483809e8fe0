"""A weight whose columns meet numbers of unequal size is factored as if they were equal."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hypersst
from hypersst.nn import LorentzLinear
from hypersst.optim import RiemannianAdamW
from hypersst.spectral import Spectral, SSTSampler, spectral, spectral_weights
from hypersst.spectral.spectral_weight import spectral_of

SIZES = torch.tensor([4.0, 1.0, 0.5, 1.0, 2.0], dtype=torch.float64)
EXECUTIONS = [("composed", False), ("factored", False), ("composed", True), ("factored", True)]


class Sized(nn.Linear):
    """A linear map that knows the sizes of its inputs."""

    column_sizes = SIZES


def held(execution: str = "composed", recompute: bool = False, **options: object) -> tuple[nn.Linear, Tensor]:
    layer = Sized(5, 3).double()
    weight = layer.weight.detach().clone()
    hypersst.spectralize(layer, rank=2, execution=execution, recompute=recompute, balanced=True, **options)
    return layer, weight


def factors(layer: nn.Linear) -> Spectral:
    found = spectral_of(layer)
    assert found is not None
    return found


@pytest.mark.parametrize(("execution", "recompute"), EXECUTIONS)
def test_the_map_stays_the_same(execution: str, recompute: bool) -> None:
    layer, weight = held(execution, recompute)
    x = torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.linear(x, weight, layer.bias))
    torch.testing.assert_close(layer.weight, weight)
    torch.testing.assert_close(layer.eval().weight, weight)
    assert not layer.train().parametrizations.weight[0].column_scale.requires_grad


def test_the_factors_are_those_of_the_weight_times_the_sizes() -> None:
    layer, weight = held()
    [entry] = spectral_weights(layer)
    torch.testing.assert_close(entry.sigma.detach(), torch.linalg.svdvals(weight * SIZES))
    assert max(entry.spectral.defect()) < 1e-12
    assert "balanced" in repr(layer)


@pytest.mark.parametrize(("execution", "recompute"), EXECUTIONS)
def test_gradients_are_those_of_the_factors_with_scaled_inputs(execution: str, recompute: bool) -> None:
    layer, _ = held(execution, recompute, gradient="plain")
    p, [entry] = factors(layer), spectral_weights(layer)
    x = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    layer(x).square().sum().backward()
    sigma, u, v = (t.detach().clone() for t in (entry.sigma, *p.rows))
    ends = [t.requires_grad_() for t in (sigma, u, v)]
    twin = (u * sigma[:, None]).t() @ v / SIZES
    slow = x.detach().clone().requires_grad_()
    F.linear(slow, twin, layer.bias.detach()).square().sum().backward()
    assert all(t.grad is not None for t in (*ends, slow, x))
    torch.testing.assert_close(entry.sigma.grad, sigma.grad)
    torch.testing.assert_close(p.u_active.grad, u.grad[p.index])
    torch.testing.assert_close(p.v_active.grad, v.grad[p.index])
    torch.testing.assert_close(x.grad, slow.grad)


def test_training_keeps_the_weight_at_decompositions_and_merges_to_it() -> None:
    layer, _ = held(vectors="ambient")
    optimizer = RiemannianAdamW(hypersst.param_groups(layer, 0.05, weight_decay=0.1), lr=0.05)
    sampler = SSTSampler(layer, optimizer, steps_per_iteration=3, iterations_per_round=1, warmup_steps=0, seed=0)
    x = torch.randn(7, 5, dtype=torch.float64)
    for step in range(7):
        optimizer.zero_grad()
        (layer(x) - 1).square().sum().backward()
        optimizer.step()
        if step == 5:  # a decomposition has just been: the factors are orthonormal, in the scaled coordinates
            [entry] = spectral_weights(layer)
            torch.testing.assert_close(entry.sigma.detach(), torch.linalg.svdvals(layer.weight * SIZES))
            assert max(entry.spectral.defect()) < 1e-12
    sampler.detach()
    expected = layer(x).detach()
    copied = copy.deepcopy(layer)
    copied.load_state_dict(layer.state_dict())
    torch.testing.assert_close(copied(x), expected)
    hypersst.merge(layer)
    assert type(layer) is Sized
    torch.testing.assert_close(layer(x), expected)


def test_assigning_a_weight_takes_it_over() -> None:
    layer, weight = held()
    layer.weight = 2 * weight
    torch.testing.assert_close(layer.weight, 2 * weight)


def test_autocast_decides_the_type_of_the_product() -> None:
    layer = Sized(5, 3)
    hypersst.spectralize(layer, rank=1, balanced=True, execution="composed")
    assert factors(layer).column_scale.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.weight.dtype == torch.bfloat16
        assert layer(torch.randn(2, 5)).dtype == torch.bfloat16
    assert layer.half().weight.dtype == torch.float16


def test_without_sizes_or_without_the_option_nothing_is_scaled() -> None:
    model = nn.Sequential(nn.Linear(5, 3), Sized(5, 3).float())
    hypersst.spectralize(model, rank=1, include=["0"], balanced=True)
    hypersst.spectralize(model, rank=1, include=["1"])
    assert [entry.spectral.column_scale for entry in spectral_weights(model)] == [None, None]
    assert not any("column_scale" in name for name in model.state_dict())


@pytest.mark.parametrize("sizes", [torch.ones(4), torch.zeros(5), -SIZES, torch.ones(1, 5), SIZES * math.nan])
def test_sizes_must_be_positive_and_one_a_column(sizes: Tensor) -> None:
    with pytest.raises(ValueError, match="`column_sizes` must be"):
        spectral(nn.Linear(5, 3), rank=1, column_sizes=sizes)


@pytest.mark.parametrize("time", ["gated", "recomputed"])
def test_the_time_coordinate_is_as_long_as_the_space_coordinates_together(time: str) -> None:
    layer = LorentzLinear(9, 4, time=time)
    sizes = layer.column_sizes
    assert sizes is not None
    assert sizes.tolist() == [3.0] + 9 * [1.0]
    points = layer.manifold.from_space(20 * torch.randn(1000, 9))
    size = points.square().mean(0).sqrt()
    torch.testing.assert_close(size[0] / size[1:].square().mean().sqrt(), sizes[0], rtol=1e-2, atol=0)


def test_hyperplanes_have_no_column_for_the_time() -> None:
    layer = LorentzLinear(9, 4, time="hyperplane")
    assert layer.column_sizes is None
    hypersst.spectralize(layer, rank=1, balanced=True)
    assert spectral_weights(layer)[0].spectral.column_scale is None
