"""Attention over neighbours: what convolutions share that weigh edges by the distance of their ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypersst.nn.dropout import dropout
from hypersst.nn.graph_conv import Adjacency, MeanConv, Nodes, as_edges, check_adjacency, split_nodes
from hypersst.nn.shapes import check_probability
from hypersst.nn.sparse import CSRMatrix

__all__ = ["AttentionConv", "edge_softmax"]


def edge_softmax(score: Tensor, target: Tensor, num_targets: int, weight: Tensor | None = None) -> Tensor:
    r"""Softmax of scores over all edges into the same node.

    .. math:: \alpha_e = \frac{w_e\,e^{s_e}}{\sum_{e' \to i} w_{e'}\,e^{s_{e'}}}

    Args:
        score: One row for each edge, shape ``(E, *)``.
        target: Node that each edge leads to, shape ``(E,)``.
        num_targets: Number of nodes.
        weight: Weights of the edges, not negative, shape ``(E,)``; ones if left out. Edges of weight zero do not count.

    Returns:
        Shape ``(E, *)``, not negative; the rows of a node sum to one if one of its weights is positive, else zero.

    Example:
        >>> edge_softmax(torch.zeros(3), torch.tensor([0, 0, 1]), 2)
        tensor([0.5000, 0.5000, 1.0000])
    """
    shape = (num_targets, *score.shape[1:])
    index = target.view(-1, *[1] * (score.dim() - 1)).expand_as(score)
    if weight is not None:
        weight = weight.view(-1, *[1] * (score.dim() - 1))
        # An edge that does not count must not be the largest either: beside it the others could vanish.
        score = score.masked_fill(weight == 0, -torch.inf)
    top = score.new_full(shape, -torch.inf).scatter_reduce(0, index, score.detach(), "amax")
    # The lower bound keeps -inf - top what it is where no edge counts.
    exponential = (score - top.clamp_min(torch.finfo(score.dtype).min).index_select(0, target)).exp()
    if weight is not None:
        exponential = weight * exponential
    total = exponential.new_zeros(shape).index_add(0, target, exponential)
    return exponential / total.clamp_min(torch.finfo(score.dtype).tiny).index_select(0, target)


class AttentionConv(MeanConv):
    """Base of convolutions that sum neighbours with weights from a softmax over each node's edges.

    Memory grows with the number of edges, never with its square. A subclass defines `_score` besides `_transform` and
    `_finish`. Edge weights multiply the exponentials, so that any normalisation of rows by the caller cancels.

    Args:
        in_channels: As for `MeanConv`.
        out_channels: As for `MeanConv`.
        dropout: Probability of dropping an edge's attention in training.
        add_self_loops: Let each node attend to itself.
        cached: Keep the graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        *,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        cached: bool = False,
        **kwargs: Any,
    ) -> None:
        check_probability(dropout=dropout)
        kwargs.setdefault("node_dim", 0)
        super().__init__(
            in_channels,
            out_channels,
            add_self_loops=add_self_loops,
            normalize=False,
            cached=cached,
            **kwargs,
        )
        self.dropout = dropout

    def forward(
        self,
        x: Nodes,
        edge_index: Adjacency,
        edge_weight: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Map node points; arguments and result as for `MeanConv`, with targets always needed in a pair."""
        source, target, size = split_nodes(x, edge_index, size)
        check_adjacency(edge_index, edge_weight, source.shape[-2], size is not None)
        if size is not None and target is None:
            raise ValueError("`x` must hold targets too, which attention compares with the sources, got None for them.")
        h = self._transform(source, self.lin)
        own = None if target is None else self._transform(target, self.lin if self.lin_dst is None else self.lin_dst)
        queries = h if own is None else own
        if not isinstance(edge_index, CSRMatrix):
            appended = own if self.self_loops else None
            h, edge_index, edge_weight, size = self._graph(h, appended, edge_index, edge_weight, size)
        edges, weight = as_edges(edge_index, edge_weight, h.dtype)
        j, i = edges if self.flow == "source_to_target" else edges.flip(0)
        alpha = edge_softmax(self._score(queries, h, i, j), i, queries.shape[0], weight)
        alpha = dropout(alpha, self.dropout, self.training)
        # propagate_type: (x: Tensor, edge_weight: OptTensor)
        total = self.propagate(edges, x=self._widen(h), edge_weight=alpha, size=size)
        return self._finish(self._centre(total, h.dtype))

    def _score(self, targets: Tensor, sources: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Scores of edges from ``sources[j]`` to ``targets[i]``, shape ``(E,)`` or ``(E, heads)``."""
        raise NotImplementedError
