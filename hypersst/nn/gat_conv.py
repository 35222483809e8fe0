"""Graph attention of Veličković et al. with sparse features and a prepared adjacency."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import Linear

from hypersst.manifolds.rows import kept
from hypersst.nn.attention_conv import AttentionConv
from hypersst.nn.graph_conv import Points, pair
from hypersst.nn.shapes import check_channels
from hypersst.nn.sparse import CSRMatrix
from hypersst.nn.sparse import linear as sparse_linear

__all__ = ["GATConv"]


class GATConv(AttentionConv):
    r"""Average of linearly transformed neighbours, each head weighing them by a learned sum of both ends.

    With :math:`h_j = W x_j`, in each head

    .. math:: \alpha_{ij} = \operatorname{softmax}_j\bigl(\operatorname{LeakyReLU}(a_t \cdot h_i + a_s \cdot h_j)\bigr),
        \qquad y_i = \sum_j \alpha_{ij} h_j + b.

    Heads are joined or averaged. It is PyG's `GATConv` (equal for equal parameters if no edge is a self-loop, see
    `GCNConv`), which also takes `CSRMatrix` features and a `CSRMatrix` adjacency, and shares its kernels with the
    hyperbolic attention layers.

    Source: Veličković et al. (2018), *Graph Attention Networks*, eqs. 3–6. Departure: dropout acts on the attention
    only, not on the layer's input too; a network drops that itself.

    Use: as the Euclidean baseline beside `LorentzGATConv`.

    Cost: ``heads * out_channels * (in_channels + 3)`` parameters; ``N * heads * out_channels * in_channels``
    multiply-adds; ``(E + N) * heads * out_channels`` over edges.

    Args:
        in_channels: Number of features; -1 to read it off the first input; a pair for sources and targets, see
            `MeanConv`.
        out_channels: Dimensions of each head.
        heads: Number of heads.
        concat: Join the heads to ``heads * out_channels`` dimensions; else their mean is taken.
        bias: Learn :math:`b`.
        negative_slope: Slope of the leaky ReLU.
        dropout: Probability of dropping an edge's attention in training.
        add_self_loops: Let each node attend to itself.
        cached: Keep the graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.

    Shapes:
        - input: node features ``(N, in_channels)``, dense or `CSRMatrix`, or a pair for sources and targets; graph as
          for `LorentzConv`, the weights of a `CSRMatrix` multiply the attention;
        - output: node features ``(N, heads * out_channels)``, or ``(N, out_channels)`` without ``concat``.

    Raises:
        ValueError: If ``heads`` is below 1.

    Example:
        >>> conv = GATConv(16, 8, heads=4)
        >>> conv
        GATConv(16, 8, heads=4)
        >>> conv(torch.randn(3, 16), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 32])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        bias: bool = True,
        *,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        cached: bool = False,
        **kwargs: Any,
    ) -> None:
        check_channels(heads=heads)
        super().__init__(
            in_channels, out_channels, dropout=dropout, add_self_loops=add_self_loops, cached=cached, **kwargs
        )
        source, target = pair(self.in_channels)
        options: dict[str, Any] = {"bias": False, "weight_initializer": "glorot"}
        self.lin = Linear(source, heads * out_channels, **options)
        if target is not None:
            self.lin_dst = Linear(target, heads * out_channels, **options)
        self.att_src = nn.Parameter(torch.empty(heads, out_channels))
        self.att_dst = nn.Parameter(torch.empty(heads, out_channels))
        self.bias = nn.Parameter(torch.empty(heads * out_channels if concat else out_channels)) if bias else None
        self.heads = heads
        self.concat = concat
        self.negative_slope = negative_slope
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew as PyG does, and forget the cached graph."""
        super().reset_parameters()
        nn.init.xavier_uniform_(self.att_src)
        nn.init.xavier_uniform_(self.att_dst)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _transform(self, x: Points, linear: Any) -> Tensor:
        h = sparse_linear(x, linear.weight) if isinstance(x, CSRMatrix) else linear(x)
        return h.unflatten(-1, (self.heads, self.out_channels))

    def _score(self, targets: Tensor, sources: Tensor, i: Tensor, j: Tensor) -> Tensor:
        to = (targets * self.att_dst).sum(dim=-1)
        of = (sources * self.att_src).sum(dim=-1)
        # Else a compiler sums over the channels anew for every edge.
        to, of = kept(to, of)
        return F.leaky_relu(to.index_select(0, i) + of.index_select(0, j), self.negative_slope)

    def _finish(self, total: Tensor) -> Tensor:
        out = total.flatten(-2) if self.concat else total.mean(dim=-2)
        return out if self.bias is None else out + self.bias

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.out_channels}, heads={self.heads})"
