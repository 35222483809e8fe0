"""Cross-entropy with smoothed labels in one pass over the logits.

A vocabulary makes logits the largest tensors of a small Transformer, and `torch.nn.functional.cross_entropy` with its
backward pass goes over them many times. Here each block of rows is fetched once: its losses and its gradient are worked
out while it is in the cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["cross_entropy_sum"]

# Numbers of a block on a CPU. Elsewhere all rows are one block, since each costs a dozen launches.
_BLOCK = 2**17


def cross_entropy_sum(logits: Tensor, targets: Tensor, *, ignore: int, label_smoothing: float = 0.0) -> Tensor:
    r"""Sum of :math:`\log\sum_w e^{z_w} - (1 - \epsilon) z_t - \frac{\epsilon}{V}\sum_w z_w` over rows, in nats.

    It is `torch.nn.functional.cross_entropy` with ``reduction="sum"``, computed in float32 or more, with first
    derivatives only.

    Source: Szegedy et al. (2016), *Rethinking the Inception Architecture for Computer Vision*, sec. 7.

    Args:
        logits: Scores z, shape ``(N, V)``.
        targets: The right words t, shape ``(N,)``.
        ignore: Target of rows that do not count.
        label_smoothing: Share :math:`\epsilon` of a target's probability that is spread over all words, in [0, 1).

    Returns:
        A scalar.
    """
    total: Tensor = _CrossEntropySum.apply(logits, targets, ignore, label_smoothing)
    return total


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, ignore: int, smoothing: float) -> Tensor:
        wide = torch.promote_types(logits.dtype, torch.float32)
        losses = logits.new_empty(len(logits), dtype=wide)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        words = logits.shape[1]
        rows = max(1, _BLOCK // words if logits.device.type == "cpu" else len(logits))
        for start in range(0, len(logits), rows):
            part = slice(start, start + rows)
            z, target = logits[part].to(wide), targets[part]
            counts = target != ignore
            chosen = torch.where(counts, target, 0)[:, None]
            top = z.amax(dim=1, keepdim=True)
            share = (z - top).exp_()
            total = share.sum(dim=1, keepdim=True)
            loss = total.log() + top - (1 - smoothing) * z.gather(1, chosen)
            if smoothing:
                loss -= smoothing * z.mean(dim=1, keepdim=True)
            losses[part] = torch.where(counts, loss[:, 0], 0.0)
            if gradient is not None:
                share *= counts[:, None] / total
                share -= counts[:, None] * (smoothing / words)
                share.scatter_add_(1, chosen, (counts[:, None] * (smoothing - 1.0)).to(wide))
                gradient[part] = share
        ctx.save_for_backward(gradient)
        return losses.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad.to(gradient.dtype), None, None, None
