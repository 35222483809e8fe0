"""What a model is asked for in training and in evaluation: functions of the model alone, without state."""

from __future__ import annotations

from torch import Tensor

from hypersst.datasets import GraphTask
from hypersst.experiments.batches import Batch
from hypersst.experiments.metrics import link_scores, node_scores
from hypersst.models import GraphModel
from hypersst.models.base import Features
from hypersst.nn import CSRMatrix

__all__ = ["answers", "scores", "training_loss"]


def training_loss(model: GraphModel, batch: Batch) -> Tensor:
    """Loss of one pass over the training part of a batch: of classes if the model has a head, else of edges."""
    out = model(batch.x, batch.adjacency)
    if model.head is not None:
        return model.node_loss(out if batch.nodes is None else out[batch.nodes], batch.y, batch.class_weight)
    return model.link_loss(model.decode(out, batch.positive), model.decode(out, batch.negative))


def answers(model: GraphModel, x: Features, adjacency: Tensor | CSRMatrix, task: GraphTask) -> tuple[Tensor, ...]:
    """All that a model says about the validation and test parts, from one pass.

    Returns:
        Class scores of both parts, ``(n, K)`` each; or scores of edges and of pairs without one of both, ``(n,)`` each.
    """
    out = model(x, adjacency)
    if model.head is not None:
        return out[task.val], out[task.test]
    pairs = (task.val_pos, task.val_neg, task.test_pos, task.test_neg)
    return tuple(model.decode(out, index) for index in pairs)


def scores(answer: tuple[Tensor, ...], task: GraphTask) -> tuple[dict[str, float], dict[str, float]]:
    """Compare what `answers` gives with what is so, for the validation and for the test part."""
    if len(answer) == 2:
        return node_scores(answer[0], task.y[task.val]), node_scores(answer[1], task.y[task.test])
    return link_scores(*answer[:2]), link_scores(*answer[2:])
