"""The fused loss of words is torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.experiments.texts import cross_entropy
from hypersst.experiments.texts.cross_entropy import cross_entropy_sum


def draw(rows: int = 37, words: int = 11, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    targets = torch.randint(0, words, (rows,))
    targets[::5] = 3
    return (4 * torch.randn(rows, words, dtype=dtype)).requires_grad_(), targets


@pytest.mark.parametrize("block", [1, 30, 2**17])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignore", [3, -100])
def test_value_and_gradient_are_torchs(
    block: int, smoothing: float, ignore: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "_BLOCK", block)
    logits, targets = draw()
    targets[0] = ignore
    loss = cross_entropy_sum(logits, targets, ignore=ignore, label_smoothing=smoothing)
    twin = F.cross_entropy(logits, targets, ignore_index=ignore, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss, twin)
    for found, expected in zip(*(torch.autograd.grad(each / 7, logits) for each in (loss, twin)), strict=True):
        torch.testing.assert_close(found, expected)


def test_half_precision_is_summed_in_float32() -> None:
    logits, targets = draw(dtype=torch.float32)
    half = logits.detach().bfloat16().requires_grad_()
    loss = cross_entropy_sum(half, targets, ignore=3, label_smoothing=0.1)
    twin = F.cross_entropy(half.float(), targets, ignore_index=3, label_smoothing=0.1, reduction="sum")
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, twin)
    (gradient,) = torch.autograd.grad(loss, half)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient, torch.autograd.grad(twin, half)[0], rtol=1e-2, atol=1e-3)


def test_large_scores_do_not_overflow() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    loss = cross_entropy_sum(logits, torch.tensor([1]), ignore=-1)
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1.0, -1.0, 0.0]]


def test_what_is_not_finite_stays_so() -> None:
    logits = torch.tensor([[float("nan"), 0.0]], requires_grad=True)
    loss = cross_entropy_sum(logits, torch.tensor([1]), ignore=-1)
    loss.backward()
    assert loss.isnan()
    assert logits.grad is not None
    assert logits.grad.isnan().any()


def test_without_gradients_none_is_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = draw()
    monkeypatch.delattr(torch, "empty_like")  # the place of a gradient
    assert cross_entropy_sum(logits.detach(), targets, ignore=3).isfinite()
    with pytest.raises(AttributeError):
        cross_entropy_sum(logits, targets, ignore=3)
