"""Scores of classifiers and link predictors, on the device, from tensors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["average_precision", "f1_scores", "link_scores", "node_scores", "roc_auc"]


def roc_auc(scores: Tensor, labels: Tensor) -> Tensor:
    """Probability that a positive scores above a negative, ties counted half (Mann and Whitney, 1947).

    Args:
        scores: Shape ``(n,)``.
        labels: 1 or ``True`` for positives, shape ``(n,)``.

    Returns:
        A scalar in [0, 1].
    """
    labels = labels.bool()
    _, group, size = scores.unique(sorted=True, return_inverse=True, return_counts=True)
    last = size.cumsum(0).double()
    rank = (last - (size.double() - 1.0) / 2.0)[group]  # ties share their mean rank, counted from 1
    positives = labels.sum().double()
    negatives = labels.numel() - positives
    return (rank[labels].sum() - positives * (positives + 1.0) / 2.0) / (positives * negatives)


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    r"""Area under the precision-recall steps, :math:`\sum_n (R_n - R_{n-1}) P_n`, one step per distinct score.

    Args:
        scores: Shape ``(n,)``.
        labels: 1 or ``True`` for positives, shape ``(n,)``.

    Returns:
        A scalar in [0, 1].
    """
    order = scores.argsort(descending=True)
    hits = labels.bool()[order].double().cumsum(0)
    ordered = scores[order]
    # A threshold admits all scores that tie with it: keep the last of each run of equal scores.
    last = torch.cat((ordered[1:] != ordered[:-1], ordered.new_ones(1, dtype=torch.bool)))
    count = torch.arange(1, scores.numel() + 1, device=scores.device).double()[last]
    hits = hits[last]
    gained = hits.diff(prepend=hits.new_zeros(1))
    return (gained * hits / count).sum() / hits[-1]


def f1_scores(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """F1 of each class, shape ``(num_classes,)``; 0 where a class neither occurs nor is predicted."""
    confusion = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    confusion = confusion.view(num_classes, num_classes).double()
    hits = confusion.diagonal()
    return 2.0 * hits / (confusion.sum(0) + confusion.sum(1)).clamp_min(1.0)


def node_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Scores of a classifier.

    Args:
        logits: Shape ``(n, K)``.
        labels: Shape ``(n,)``.

    Returns:
        ``f1`` as the literature on these sets counts it (of class 1 where there are two classes, else micro-averaged,
        which is accuracy), ``f1_macro`` and ``accuracy``, all in [0, 1].
    """
    classes = logits.shape[1]
    predicted = logits.argmax(dim=1)
    accuracy = (predicted == labels).double().mean()
    each = f1_scores(predicted, labels, classes)
    f1 = each[1] if classes == 2 else accuracy
    return {"f1": f1.item(), "f1_macro": each.mean().item(), "accuracy": accuracy.item()}


def link_scores(positive: Tensor, negative: Tensor) -> dict[str, float]:
    """Scores of a link predictor.

    Args:
        positive: Scores of edges, shape ``(n,)``.
        negative: Scores of pairs without one, shape ``(m,)``.

    Returns:
        ``roc_auc`` and ``ap``, both in [0, 1], and ``f1`` of the half with the larger scores taken for edges.
    """
    scores = torch.cat((positive, negative))
    labels = torch.cat((torch.ones_like(positive), torch.zeros_like(negative))).bool()
    predicted = torch.zeros_like(labels)
    predicted[scores.topk(positive.numel()).indices] = True
    # As many are taken for edges as there are, so precision, recall and F1 are one number.
    f1 = (predicted & labels).sum() / positive.numel()
    return {
        "roc_auc": roc_auc(scores, labels).item(),
        "ap": average_precision(scores, labels).item(),
        "f1": f1.item(),
    }
