"""What the hyperbolic graph convolutions share: how they take nodes and the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.conv import MessagePassing
from torch_geometric.utils import is_torch_sparse_tensor, spmm, to_edge_index

from hypersst.nn.lazy_linear import check_in_channels, lazy_linear, reset
from hypersst.nn.row_norm import row_norm
from hypersst.nn.shapes import check_channels
from hypersst.nn.sparse import CSRMatrix

__all__ = ["Adjacency", "MeanConv", "Nodes", "Points", "as_edges", "check_adjacency", "pair", "split_nodes"]

Adjacency = Tensor | CSRMatrix
Points = Tensor | CSRMatrix
#: All nodes, or sources and targets of a bipartite graph; targets may be ``None`` where only their number matters.
Nodes = Points | tuple[Points, Points | None]


class MeanConv(MessagePassing):
    r"""Base of convolutions that sum :math:`D^{-1}(A + I)` over transformed neighbours.

    Subclasses define `_transform` (one node to what is summed) and `_finish` (the sum to a point), and set ``lin``;
    those whose sums need more digits than what is summed define `_widen` and `_centre` too, see `CentroidSums`.

    # Note [bipartite graphs]

    With ``x = (x_src, x_dst)`` edges lead from sources to targets and the result has a row for each target. A
    self-loop then joins a target to *itself*, not to the source of the same number: the transformed targets are
    appended to the sources. If the targets are the first of the sources, as in a sampled mini-batch, or the same
    nodes, as in `torch_geometric.nn.to_hetero`, this is the ordinary self-loop; between two kinds of nodes it is the
    root's own term. With ``in_channels=(a, b)`` targets have a linear layer of their own, ``lin_dst``.

    Args:
        in_channels: Intrinsic dimensions of the input, -1 to read them off the first one, or a pair for sources
            and targets.
        out_channels: Intrinsic dimensions of the output.
        add_self_loops: Add the identity; as ``normalize`` if left out.
        normalize: Divide by the sum of each node's weights.
        cached: Keep the normalised graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.
    """

    lin: Any
    lin_dst: Any

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        *,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        cached: bool = False,
        **kwargs: Any,
    ) -> None:
        for size in in_channels if isinstance(in_channels, tuple) else (in_channels,):
            check_in_channels(size)
        check_channels(out_channels=out_channels)
        kwargs.setdefault("aggr", "add")
        super().__init__(**kwargs)
        self.lin = self.lin_dst = None
        self.in_channels = in_channels
        self.out_channels = out_channels
        # Not under PyG's name: `to_hetero` refuses modules whose `add_self_loops` is true, because theirs join nodes of
        # different kinds by number; ours do not, see Note [bipartite graphs].
        self.self_loops = normalize if add_self_loops is None else add_self_loops
        self.normalize = normalize
        self.cached = cached
        self._cached_graph: tuple[Tensor, Tensor | None] | None = None

    def _add_linear(self, kind: type[nn.Module], *args: Any, **options: Any) -> None:
        """Give sources, and targets of other sizes, their linear layer of a kind; a size of -1 waits for the input."""
        source, target = pair(self.in_channels)
        self.lin = lazy_linear(kind, source, *args, **options)
        if target is not None:
            self.lin_dst = lazy_linear(kind, target, *args, **options)

    def reset_parameters(self) -> None:
        """Draw the linear layers anew and forget the cached graph."""
        super().reset_parameters()
        self._cached_graph = None
        for layer in (self.lin, self.lin_dst):
            if layer is not None:
                reset(layer)

    def forward(
        self,
        x: Nodes,
        edge_index: Adjacency,
        edge_weight: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Map node points.

        Args:
            x: Points ``(N, ambient in)``, or a pair for sources and targets, see Note [bipartite graphs].
            edge_index: Edges ``(2, E)``, sparse ``adj_t`` ``(N_dst, N_src)`` or a `CSRMatrix` of that shape.
            edge_weight: Shape ``(E,)``, not negative; ones if left out.
            size: ``(N_src, N_dst)``, needed where no targets are given.

        Returns:
            Points ``(N_dst, ambient out)``.
        """
        return self._finish(self._sum(x, edge_index, edge_weight, size))

    def _transform(self, x: Points, linear: Any) -> Tensor:
        """What is summed over neighbours."""
        return linear(x)

    def _widen(self, h: Tensor) -> Tensor:
        """Digits that only the sum needs."""
        return h

    def _centre(self, total: Tensor, dtype: torch.dtype) -> Tensor:
        """What of a sum of widened summands is handed on, in type ``dtype``."""
        return total.to(dtype)

    def _type(self, x: Points, h: Tensor) -> torch.dtype:
        """Type of the results, for input ``x`` and summands ``h``."""
        return h.dtype

    def _finish(self, total: Tensor) -> Tensor:
        """From the sum back to the manifold."""
        raise NotImplementedError

    def _sum(self, x: Nodes, edge_index: Adjacency, edge_weight: Tensor | None, size: tuple[int, int] | None) -> Tensor:
        """Transform nodes and sum them over the graph."""
        h, h_dst, size = self._sources_and_targets(x, edge_index, edge_weight, size)
        dtype = self._type(x[0] if isinstance(x, (tuple, list)) else x, h)
        wide = self._widen(h)
        if isinstance(edge_index, CSRMatrix):
            return self._centre(edge_index.matmul(wide), dtype)
        wide_dst = None if h_dst is None else self._widen(h_dst)
        wide, edge_index, edge_weight, size = self._graph(wide, wide_dst, edge_index, edge_weight, size)
        # PyG generates code from this line and reads the types off this comment, for all subclasses.
        # propagate_type: (x: Tensor, edge_weight: OptTensor)
        return self._centre(self.propagate(edge_index, x=wide, edge_weight=edge_weight, size=size), dtype)

    def _sources_and_targets(
        self, x: Nodes, edge_index: Adjacency, edge_weight: Tensor | None, size: tuple[int, int] | None
    ) -> tuple[Tensor, Tensor | None, tuple[int, int] | None]:
        """Transformed sources, transformed targets where self-loops need them, and both numbers if bipartite."""
        source, target, size = split_nodes(x, edge_index, size)
        check_adjacency(edge_index, edge_weight, source.shape[-2], size is not None)
        h = self._transform(source, self.lin)
        if size is None or not self.self_loops or isinstance(edge_index, CSRMatrix):
            return h, None, size
        if target is None:
            raise ValueError("`x` must hold targets too, for `add_self_loops=True`, got None for them.")
        return h, self._transform(target, self.lin if self.lin_dst is None else self.lin_dst), size

    def _graph(
        self,
        h: Tensor,
        h_dst: Tensor | None,
        edge_index: Tensor,
        edge_weight: Tensor | None,
        size: tuple[int, int] | None,
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[int, int] | None]:
        """Sources with appended targets, normalised edges or sparse adjacency, weights, and the numbers of nodes."""
        if size is not None and self.flow != "source_to_target":
            raise ValueError(f"`flow` must be 'source_to_target' for bipartite graphs, got {self.flow!r}.")
        num_sources = h.shape[self.node_dim]
        if size is not None and h_dst is not None:
            h = torch.cat((h, h_dst), dim=self.node_dim)
            size = (h.shape[self.node_dim], size[1])
        if self._cached_graph is not None:
            edges, edge_weight = self._cached_graph
            return h, edges, edge_weight, size
        if size is not None:
            edge_index, edge_weight = as_edges(edge_index, edge_weight, h.dtype)
            if h_dst is not None:
                own = torch.arange(size[1], device=h.device)
                edge_index = torch.cat((edge_index, torch.stack((num_sources + own, own))), dim=1)
                edge_weight = torch.cat((edge_weight, edge_weight.new_ones(size[1])))
        else:
            # A sparse product wants one type, and indices one that can index.
            edge_index = edge_index.to(h.dtype) if is_torch_sparse_tensor(edge_index) else edge_index.long()
        graph = self._normalized(
            edge_index,
            edge_weight,
            num_sources if size is None else size[1],
            add_self_loops=self.self_loops and size is None,
            dtype=h.dtype,
        )
        if self.cached:
            self._cached_graph = graph
        return h, *graph, size

    def _normalized(
        self,
        edge_index: Tensor,
        edge_weight: Tensor | None,
        num_nodes: int,
        *,
        add_self_loops: bool,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor | None]:
        """Add self-loops and divide as the layer's options say."""
        return row_norm(
            edge_index,
            edge_weight,
            num_nodes,
            add_self_loops=add_self_loops,
            normalize=self.normalize,
            flow=self.flow,
            dtype=dtype,
        )

    def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
        """Weight each neighbour."""
        return edge_weight.unsqueeze(-1) * x_j

    def message_and_aggregate(self, adj_t: Tensor, x: Tensor) -> Tensor:
        """Multiply by a sparse adjacency at once."""
        return spmm(adj_t, x, reduce=self.aggr)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.out_channels})"


def pair(in_channels: int | tuple[int, int]) -> tuple[int, int | None]:
    """Sizes of sources and targets; ``None`` where targets are like sources."""
    return in_channels if isinstance(in_channels, tuple) else (in_channels, None)


def split_nodes(
    x: Nodes, edge_index: Adjacency, size: tuple[int, int] | None = None
) -> tuple[Points, Points | None, tuple[int, int] | None]:
    """Take sources and targets apart; of one set of nodes, targets and size are ``None``.

    Args:
        x: Nodes, or a pair of them.
        edge_index: The graph; a sparse one says how many targets there are.
        size: ``(N_src, N_dst)`` as the user gave it.

    Raises:
        ValueError: If the numbers contradict each other, or the number of targets is unknown.
    """
    if not isinstance(x, (tuple, list)):
        if size is not None and tuple(size) != (x.shape[-2], x.shape[-2]):
            raise ValueError(f"`size` must be {(x.shape[-2],) * 2} for one set of nodes, got {tuple(size)}.")
        return x, None, None
    source, target = x
    if target is not None:
        num_targets = target.shape[-2]
    elif isinstance(edge_index, CSRMatrix) or (isinstance(edge_index, Tensor) and is_torch_sparse_tensor(edge_index)):
        num_targets = edge_index.shape[0]
    elif size is not None:
        num_targets = size[1]
    else:
        raise ValueError("`size` must be given as (N_src, N_dst) where `x` holds no targets, got None.")
    found = (source.shape[-2], num_targets)
    if size is not None and tuple(size) != found:
        raise ValueError(f"`size` must be {found}, the numbers of sources and targets, got {tuple(size)}.")
    return source, target, found


def as_edges(
    adjacency: Adjacency, edge_weight: Tensor | None = None, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Write any form of the graph as edges and weights.

    Args:
        adjacency: Edges ``(2, E)`` of any integer type, sparse ``adj_t`` or a `CSRMatrix`.
        edge_weight: Shape ``(E,)``; ones if left out, except where the matrix holds its own.
        dtype: Type of those ones.

    Returns:
        Edges, int64 of shape ``(2, E)``, and weights ``(E,)``.
    """
    if isinstance(adjacency, CSRMatrix):
        return torch.stack((adjacency.col, adjacency.row)).long(), adjacency.values
    if is_torch_sparse_tensor(adjacency):
        indices, values = to_edge_index(adjacency)
        return indices.flip(0), values
    if edge_weight is None:
        edge_weight = torch.ones(adjacency.size(1), dtype=dtype, device=adjacency.device)
    return adjacency.long(), edge_weight


def check_adjacency(adjacency: object, edge_weight: Tensor | None, num_nodes: int, bipartite: bool) -> None:
    """Refuse what is no graph on ``num_nodes`` nodes.

    Args:
        adjacency: What was given as ``edge_index``.
        edge_weight: What was given beside it.
        num_nodes: Rows of the features, those of the sources if there are others.
        bipartite: Whether there are.

    Raises:
        TypeError: If ``adjacency`` is neither a tensor nor a `CSRMatrix`.
        ValueError: If a `CSRMatrix` comes with other weights or has another size, or weights are not one for each edge.
    """
    if isinstance(adjacency, CSRMatrix):
        if edge_weight is not None:
            raise ValueError("`edge_weight` must be None with a CSRMatrix, which holds its own weights.")
        if adjacency.shape[1] != num_nodes:
            raise ValueError(
                f"`edge_index` must have a column for each of the {num_nodes} nodes, got shape {adjacency.shape}."
            )
        if not bipartite and adjacency.shape[0] != num_nodes:
            raise ValueError(
                f"`edge_index` must have a row for each of the {num_nodes} nodes, got shape {adjacency.shape}."
            )
    elif not isinstance(adjacency, Tensor):
        raise TypeError(
            "`edge_index` must be a tensor of shape (2, E), a torch sparse tensor or a CSRMatrix, "
            f"got {type(adjacency).__name__}."
        )
    elif edge_weight is not None and not is_torch_sparse_tensor(adjacency) and edge_weight.shape != adjacency.shape[1:]:
        raise ValueError(
            f"`edge_weight` must hold a number for each of the {adjacency.shape[1]} edges, "
            f"got shape {tuple(edge_weight.shape)}."
        )
