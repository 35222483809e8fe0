"""What the hyperbolic graph convolutions share: how they take the graph."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.utils import spmm

from hypersst.nn.row_norm import row_norm
from hypersst.nn.shapes import check_channels
from hypersst.nn.sparse import CSRMatrix

__all__ = ["Adjacency", "MeanConv", "check_adjacency"]

Adjacency = Tensor | CSRMatrix


class MeanConv(MessagePassing):
    """Base of convolutions that sum :math:`D^{-1}(A + I)` over transformed neighbours.

    Subclasses transform, call ``self.propagate`` (in their own source: PyG generates code from it) and
    put the sum back onto the manifold.

    Args:
        in_channels: Intrinsic dimensions of the input.
        out_channels: Intrinsic dimensions of the output.
        add_self_loops: Add the identity; as ``normalize`` if left out.
        normalize: Divide by the sum of each node's weights.
        cached: Keep the normalised graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        cached: bool = False,
        **kwargs: Any,
    ) -> None:
        check_channels(in_channels=in_channels, out_channels=out_channels)
        kwargs.setdefault("aggr", "add")
        super().__init__(**kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.add_self_loops = normalize if add_self_loops is None else add_self_loops
        self.normalize = normalize
        self.cached = cached
        self._cached_graph: tuple[Tensor, Tensor | None] | None = None

    def reset_parameters(self) -> None:
        """Forget the cached graph."""
        super().reset_parameters()
        self._cached_graph = None

    def _graph(self, h: Tensor, edge_index: Tensor, edge_weight: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Normalise edges or sparse adjacency as the layer's options say."""
        if self._cached_graph is not None:
            return self._cached_graph
        graph = row_norm(
            edge_index,
            edge_weight,
            h.shape[self.node_dim],
            add_self_loops=self.add_self_loops,
            normalize=self.normalize,
            flow=self.flow,
            dtype=h.dtype,
        )
        if self.cached:
            self._cached_graph = graph
        return graph

    def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
        """Weight each neighbour."""
        return edge_weight.view(-1, 1) * x_j

    def message_and_aggregate(self, adj_t: Tensor, x: Tensor) -> Tensor:
        """Multiply by a sparse adjacency at once."""
        return spmm(adj_t, x, reduce=self.aggr)


def check_adjacency(adjacency: object, edge_weight: Tensor | None, num_nodes: int) -> None:
    """Refuse what is no graph on ``num_nodes`` nodes.

    Args:
        adjacency: What was given as ``edge_index``.
        edge_weight: What was given beside it.
        num_nodes: Rows of the features.

    Raises:
        TypeError: If ``adjacency`` is neither a tensor nor a `CSRMatrix`.
        ValueError: If a `CSRMatrix` comes with other weights or has another size.
    """
    if isinstance(adjacency, CSRMatrix):
        if edge_weight is not None:
            raise ValueError("`edge_weight` must be None with a CSRMatrix, which holds its own weights.")
        if adjacency.shape[1] != num_nodes:
            raise ValueError(
                f"`edge_index` must have a column for each of the {num_nodes} nodes, got shape {adjacency.shape}."
            )
    elif not isinstance(adjacency, Tensor):
        raise TypeError(
            "`edge_index` must be a tensor of shape (2, E), a torch sparse tensor or a CSRMatrix, "
            f"got {type(adjacency).__name__}."
        )
