"""Margin losses of HyboNet."""

from __future__ import annotations

from torch import Tensor

__all__ = ["margin_ranking_loss", "multi_margin_loss"]


def margin_ranking_loss(pos: Tensor, neg: Tensor, margin: float = 1.0) -> Tensor:
    r"""Ask that each positive score exceed its partner's negative score by a margin.

    .. math:: \frac 1n \sum_i \max(0,\; m - s_i^+ + s_i^-)

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, link prediction; there each positive is paired with
    an arbitrary negative.

    Args:
        pos: Scores of edges, shape ``(n,)``.
        neg: Scores of non-edges, shape ``(n,)``.
        margin: The number :math:`m`.

    Returns:
        The mean, a scalar.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> margin_ranking_loss(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0]), margin=1.0)
        tensor(0.5000)
    """
    if pos.shape != neg.shape:
        raise ValueError(
            f"`neg` must have the shape of `pos`, {tuple(pos.shape)}, one partner each, got {tuple(neg.shape)}."
        )
    return (margin - pos + neg).relu().mean()


def multi_margin_loss(logits: Tensor, y: Tensor, margin: float = 1.0, weight: Tensor | None = None) -> Tensor:
    r"""Ask that the score of the right class exceed every other by a margin.

    .. math:: \frac{1}{nK} \sum_i \sum_{k=1}^{K} \max(0,\; m - \ell_{i,y_i} + \ell_{i,k})

    As in HyboNet's code the sum includes :math:`k = y_i`, which adds the constant :math:`m / K`;
    `torch.nn.functional.multi_margin_loss` leaves it out and is smaller by just that. Weights of the classes weigh the
    mean over i, as in `torch.nn.functional.cross_entropy`.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, node classification in the authors' code.

    Args:
        logits: Scores, shape ``(n, K)``.
        y: Right classes, integers of shape ``(n,)``.
        margin: The number :math:`m`.
        weight: Positive weights of the classes, shape ``(K,)``; all the same if left out.

    Returns:
        The mean, a scalar.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> import torch
        >>> multi_margin_loss(torch.tensor([[3.0, 1.0]]), torch.tensor([0]), margin=1.0)
        tensor(0.5000)
    """
    if logits.dim() != 2 or y.shape != logits.shape[:1]:
        raise ValueError(
            f"`logits` and `y` must have shapes (n, K) and (n,), got {tuple(logits.shape)} and {tuple(y.shape)}."
        )
    correct = logits.gather(1, y.unsqueeze(1))
    loss = (margin - correct + logits).relu()
    if weight is None:
        return loss.mean()
    w = weight[y]
    return (w @ loss.mean(dim=1)) / w.sum()
