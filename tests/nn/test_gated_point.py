"""The hand-written derivatives of HyboNet's gate, on both sides of its guard."""

import pytest
import torch

from hypersst.nn.gated_point import gated_point


def inputs(short: bool) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    if short:
        z[:, 1:] *= 2e-5  # below the guard, whose root is 1e-4
    return z, torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)


@pytest.mark.parametrize("short", [False, True])
def test_gradients_and_second_derivatives_agree_with_autograd_of_the_formula(short: bool) -> None:
    def formula(z: torch.Tensor, s: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        t = s.exp() * z[:, :1].sigmoid() + 1.1 / c.sqrt()
        factor = ((t.square() - 1 / c) / z[:, 1:].square().sum(-1, keepdim=True).clamp_min(1e-8)).sqrt()
        space = factor * z[:, 1:]
        return torch.cat(((1 / c + space.square().sum(-1, keepdim=True)).sqrt(), space), dim=-1)

    cotangent = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    results = []
    for function in (formula, gated_point):
        leaves = [x.requires_grad_() for x in inputs(short)]
        y = function(*leaves)
        first = torch.autograd.grad(y, leaves, cotangent, create_graph=True)
        second = torch.autograd.grad(sum(g.sin().sum() for g in first), leaves)
        results.append((y, *first, *second))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9)


def test_points_can_be_had_in_float64_of_a_float32_vector() -> None:
    z, s, c = (x.float() for x in inputs(False))
    wide = gated_point(z, s, c, torch.float64)
    assert wide.dtype == torch.float64
    assert float((wide[:, 0] ** 2 - wide[:, 1:].square().sum(-1) - 1 / c.double()).abs().max()) < 1e-12
    torch.testing.assert_close(wide.float(), gated_point(z, s, c), rtol=1e-6, atol=1e-6)


def test_gradients_of_zero_features_are_finite() -> None:
    z = torch.zeros(2, 3, requires_grad=True)
    y = gated_point(z, torch.tensor(1.0), torch.tensor(1.0))
    torch.testing.assert_close(y, torch.tensor([[1.0, 0.0, 0.0]] * 2))
    y.sum().backward()
    assert z.grad.isfinite().all()
