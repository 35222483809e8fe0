r"""The mean over neighbours, :math:`D^{-1}(A + I)`, for edge lists and sparse adjacency."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.utils import add_self_loops as with_self_loops
from torch_geometric.utils import is_torch_sparse_tensor, scatter, to_edge_index

__all__ = ["row_norm"]


def row_norm(
    edge_index: Tensor,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    *,
    add_self_loops: bool = True,
    normalize: bool = True,
    flow: str = "source_to_target",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    r"""Divide the weight of each edge by the sum over all edges into the same node.

    The counterpart of PyG's ``gcn_norm`` for mean aggregation. Self-loops are added to those that exist.

    Args:
        edge_index: Edges, shape ``(2, E)``, or a sparse matrix with ``A[target, source]``.
        edge_weight: Shape ``(E,)``, ones if left out; a sparse matrix holds its own.
        num_nodes: Number of nodes; read off ``edge_index`` if left out.
        add_self_loops: Add the identity first.
        normalize: Divide at all.
        flow: ``"source_to_target"`` or ``"target_to_source"``, as in PyG; a sparse matrix ignores it.
        dtype: Type of the weights where none are given.

    Returns:
        Edges and weights, or the sparse matrix and ``None``.
    """
    if is_torch_sparse_tensor(edge_index):
        size = (edge_index.size(0), edge_index.size(1))
        indices, values = to_edge_index(edge_index)
        indices, values = row_norm(indices.flip(0), values, size[0], add_self_loops=add_self_loops, normalize=normalize)
        assert values is not None  # weights go in, weights come out
        # Not PyG's constructor: torch warns where nothing is said about checking invariants.
        matrix = torch.sparse_coo_tensor(indices.flip(0), values, size, check_invariants=False)
        return matrix.coalesce().to_sparse_csr(), None

    if edge_weight is None:
        edge_weight = torch.ones(edge_index.size(1), dtype=dtype, device=edge_index.device)
    if add_self_loops:
        edge_index, edge_weight = with_self_loops(edge_index, edge_weight, 1.0, num_nodes)
    if normalize:
        target = edge_index[1] if flow == "source_to_target" else edge_index[0]
        edge_weight = edge_weight * _inverse_degree(edge_weight, target, num_nodes)[target]
    return edge_index, edge_weight


def _inverse_degree(weight: Tensor, target: Tensor, num_nodes: int | None) -> Tensor:
    degree = scatter(weight, target, dim=0, dim_size=num_nodes, reduce="sum")
    # The inner `where` keeps the gradient of the unused branch finite.
    empty = degree == 0
    return torch.where(empty, 0.0, 1.0 / torch.where(empty, 1.0, degree))
