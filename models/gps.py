"""GPS: message passing beside softmax attention among all nodes, which know where random walks see them."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from hypersst.models.base import Features, Graph, affine
from hypersst.models.euclidean import EuclideanModel
from hypersst.models.random_walks import PositionedGraph, return_probabilities, standardized
from hypersst.models.softmax_attention import SelfAttention
from hypersst.nn import CSRMatrix, GCNConv
from hypersst.nn.activation import Activation
from hypersst.nn.attention_heads import check_heads
from hypersst.nn.dropout import dropout
from hypersst.nn.graph_conv import as_edges
from hypersst.nn.shapes import check_channels
from hypersst.nn.sparse import dropout as drop_features

__all__ = ["GPS", "GPSLayer"]


class GPSLayer(nn.Module):
    r"""Graph convolution and attention side by side, each with its residual connection and norm, then an MLP.

    .. math::
        m = \operatorname{norm}_1\bigl(x + \operatorname{GCN}(x)\bigr), \quad
        t = \operatorname{norm}_2\bigl(x + \operatorname{attention}(x)\bigr), \quad
        y = \operatorname{norm}_3\bigl(m + t + W_2\,\sigma(W_1(m + t))\bigr)

    with dropout on each summand that is not the residual, and within the MLP.

    Source: Rampášek et al. (2022), *Recipe for a General, Powerful, Scalable Graph Transformer*, eqs. 1–4. Departures:
    layer norm for batch norm, whose running means several seeds in one batched network could not share; no dropout of
    attention, which would form the matrix of weights.

    Args:
        channels: Dimensions of the nodes.
        heads: Number of heads, a divisor of ``channels``.
        activation: Function of the MLP; ``None`` for the identity.
        dropout: Probability of dropping.
        bias: Learn biases.

    Shapes:
        - input: node features ``(N, channels)`` and the graph as `hypersst.nn.GCNConv` takes it;
        - output: node features ``(N, channels)``.
    """

    def __init__(
        self, channels: int, heads: int, activation: Activation | None, dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = GCNConv(channels, channels, bias=bias)
        self.attention = SelfAttention(channels, heads, bias)
        self.linear1 = nn.Linear(channels, 2 * channels, bias)
        self.linear2 = nn.Linear(2 * channels, channels, bias)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels, bias=bias) for _ in range(3))
        self.activation = activation
        self.dropout = dropout

    def forward(self, x: Tensor, adj: Tensor | CSRMatrix) -> Tensor:
        """Map node features ``x``."""
        near = self.norm1(x + self._drop(self.conv(x, adj)))
        far = self.norm2(x + self._drop(self.attention(x)))
        both = near + far
        inner = self.linear1(both)
        inner = inner if self.activation is None else self.activation(inner)
        return self.norm3(both + self._drop(self.linear2(self._drop(inner))))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


def _heads(channels: int) -> int:
    return max(heads for heads in range(1, max(1, channels // 16) + 1) if channels % heads == 0)


class GPS(EuclideanModel):
    r"""A graph Transformer: linear embedding of features and positions, `GPSLayer` upon `GPSLayer`, linear head.

    Positions are the standardised probabilities of random walks to be back after 1, 2, …, ``walk_length`` steps
    (`return_probabilities`). `adjacency` computes them once and hands them on with the matrix; given mere edges,
    `encode` computes them in each call.

    Time grows with the square of the number of nodes, memory does not. On graphs of PubMed's size and beyond
    `SGFormer` is the Transformer to take.

    Source: Rampášek et al. (2022), *Recipe for a General, Powerful, Scalable Graph Transformer*; departures as for
    `GPSLayer`, and a norm of the positions that is computed once from the graph and not learned.

    Args:
        *args: As for `EuclideanModel`; ``num_layers`` counts GPS layers and the head.
        heads: Number of heads, a divisor of ``hidden_channels``; ``None`` for the largest one that leaves each head at
            least the paper's 16 dimensions.
        walk_length: Largest number of steps of a walk.
        **kwargs: As for `EuclideanModel`.

    Raises:
        ValueError: If ``heads`` does not divide ``hidden_channels`` or ``walk_length`` is below 1.

    Example:
        >>> import torch
        >>> model = GPS(5, 8, num_layers=2, out_channels=3, activation="relu")
        >>> model(torch.randn(4, 5), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])).shape
        torch.Size([4, 3])
    """

    normalization: ClassVar[str] = "sym"

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        *args: Any,
        heads: int | None = None,
        walk_length: int = 16,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        check_channels(walk_length=walk_length)
        self._heads = _heads(hidden_channels) if heads is None else heads
        super().__init__(in_channels, hidden_channels, *args, bias=bias, **kwargs)
        self.walk_length = walk_length
        self.embed = nn.Linear(in_channels, hidden_channels, bias)
        self.norm = nn.LayerNorm(hidden_channels, bias=bias)
        self.embed_positions = nn.Linear(walk_length, hidden_channels, bias=False)

    def _layer(self, fan_in: int, fan_out: int, bias: bool) -> nn.Module:
        check_heads(hidden_channels=fan_out, heads=self._heads)
        return GPSLayer(fan_out, self._heads, self.activation, self.dropout, bias)

    def _head_layer(self, fan_in: int, fan_out: int, bias: bool) -> nn.Module:
        return nn.Linear(fan_in, fan_out, bias)

    def encode(self, x: Features, adj: Graph) -> Tensor:
        """Map features ``(N, in_channels)`` to embeddings ``(N, hidden_channels)``.

        Raises:
            TypeError: If ``adj`` is a matrix that `adjacency` did not make, whose walks nobody knows.
        """
        features = self._check(x, adj)
        graph = self._positioned(adj, features)
        h = affine(self.embed, drop_features(features, self.dropout, self.training))
        h = self.norm(h) + self.embed_positions(graph.positions.to(h.dtype))
        for layer in self.layers:
            h = layer(h, graph)
        return h

    def _positioned(self, adj: Graph, x: Tensor | CSRMatrix) -> PositionedGraph:
        if isinstance(adj, PositionedGraph):
            return adj
        if not isinstance(adj, Tensor):
            raise TypeError(
                "`adj` must be edges, a torch sparse tensor or what this model's `adjacency` makes of them, "
                f"got {type(adj).__name__}."
            )
        edges, weight = as_edges(adj, dtype=x.dtype)
        return self.adjacency(edges, x.shape[0], weight)

    def adjacency(self, edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None) -> PositionedGraph:
        """Normalise edges ``(2, E)`` and compute the nodes' positions, once."""
        matrix = super().adjacency(edge_index, num_nodes, edge_weight)
        returns = return_probabilities(edge_index, num_nodes, self.walk_length, edge_weight)
        return PositionedGraph(matrix, standardized(returns))
