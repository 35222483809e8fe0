"""Kipf and Welling's graph convolution with sparse features and a prepared adjacency."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.nn import GCNConv as _GCNConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from hypersst.nn.graph_conv import Adjacency, check_adjacency
from hypersst.nn.shapes import check_features
from hypersst.nn.sparse import CSRMatrix, linear

__all__ = ["GCNConv"]


class GCNConv(_GCNConv):
    r"""PyG's `GCNConv`, which also takes `CSRMatrix` features and a `CSRMatrix` adjacency.

    A `CSRMatrix` adjacency is taken as it is, that is, as
    ``normalized_adjacency(…, normalization="sym")`` (equal to PyG's if no edge is a self-loop: PyG leaves those as they
    are where `normalized_adjacency` adds another); edges and sparse ``adj_t`` are normalised as PyG does. It
    is the Euclidean yardstick: the same kernels as the hyperbolic layers, so that a comparison of speed compares
    geometries.

    With :math:`\hat A = D^{-1/2}(A + I)D^{-1/2}`,

    .. math:: Y = \hat A X W^\top + b.

    Source: Kipf and Welling (2017), *Semi-Supervised Classification with Graph Convolutional Networks*, eq. 2.

    Use: as the Euclidean baseline beside a hyperbolic convolution.

    Cost: ``out_channels * (in_channels + 1)`` parameters; ``N * out_channels * in_channels`` multiply-adds;
    ``(E + N) * out_channels`` over edges.

    Shapes:
        - input: node features ``(N, in_channels)``, dense or `CSRMatrix`; graph as for `LorentzConv`;
        - output: node features ``(N, out_channels)``.

    Example:
        >>> GCNConv(16, 32)
        GCNConv(16, 32)
    """

    _cached_edge_index: tuple[Tensor, Tensor | None] | None

    def forward(self, x: Tensor | CSRMatrix, edge_index: Adjacency, edge_weight: Tensor | None = None) -> Tensor:
        """Map node features ``x``, shape ``(N, in_channels)``, to shape ``(N, out_channels)``.

        Of a pair of sources and targets only the sources are read, and the graph must be a `CSRMatrix`.
        """
        bipartite = isinstance(x, (tuple, list))
        if isinstance(x, (tuple, list)):
            if not isinstance(edge_index, CSRMatrix):
                raise ValueError(
                    "`x` must be one set of nodes, got a pair: symmetric normalisation needs degrees of sources and "
                    "targets alike; use a hyperbolic convolution or PyG's SAGEConv for bipartite graphs, or give the "
                    "normalised graph as a CSRMatrix."
                )
            x = x[0]
        if self.in_channels > 0:  # PyG's -1 stands for "as the first input"
            check_features(x, self.in_channels, "in_channels")
        check_adjacency(edge_index, edge_weight, x.shape[0], bipartite)
        h = linear(x, self.lin.weight) if isinstance(x, CSRMatrix) else self.lin(x)
        if isinstance(edge_index, CSRMatrix):
            out = edge_index.matmul(h)
        else:
            if self.normalize:
                graph = self._cached_edge_index
                if graph is None:
                    graph = gcn_norm(
                        edge_index, edge_weight, h.size(0), self.improved, self.add_self_loops, self.flow, h.dtype
                    )
                    if self.cached:
                        self._cached_edge_index = graph
                edge_index, edge_weight = graph
            # propagate_type: (x: Tensor, edge_weight: OptTensor)
            out = self.propagate(edge_index, x=h, edge_weight=edge_weight)
        return out if self.bias is None else out + self.bias
