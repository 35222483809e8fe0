"""Distances in a graph, from its edges, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse import csgraph
from torch import Tensor

__all__ = ["adjacency", "distance_blocks", "graph_distances"]

# Distances in a block of rows: 32 MiB of float64.
_BLOCK = 2**22


def adjacency(edge_index: Tensor, num_nodes: int | None = None, weight: Tensor | None = None) -> sp.csr_matrix:
    """Sparse symmetric matrix of an undirected graph, without loops; of parallel edges the shortest counts.

    Args:
        edge_index: Edges in one direction or both, shape ``(2, E)``.
        num_nodes: Number of nodes; by default one more than the largest index.
        weight: Positive lengths of the edges, shape ``(E,)``; 1 if left out.

    Raises:
        ValueError: Naming argument, rule and value.
    """
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.is_floating_point():
        raise ValueError(
            f"`edge_index` must be integers of shape (2, E), got {edge_index.dtype} of shape {tuple(edge_index.shape)}."
        )
    edges = edge_index.detach().cpu().numpy().astype(np.int64)
    least = int(edges.max()) + 1 if edges.size else 0
    n = least if num_nodes is None else num_nodes
    if n < max(least, 1) or (edges.size and edges.min() < 0):
        low = int(edges.min()) if edges.size else 0
        raise ValueError(f"`edge_index` must hold nodes from 0 to {n - 1}, got {low} to {least - 1}.")
    length = np.ones(edges.shape[1]) if weight is None else weight.detach().cpu().numpy().astype(np.float64)
    if length.shape != edges.shape[1:]:
        raise ValueError(f"`weight` must have shape {edges.shape[1:]}, got {length.shape}.")
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError(f"`weight` must be positive and finite, got {length.min():g} to {length.max():g}.")
    source, target = np.concatenate((edges, edges[::-1]), axis=1)
    length = np.concatenate((length, length))
    joined = source != target
    source, target, length = source[joined], target[joined], length[joined]
    # Shortest first among equal pairs; a sparse matrix would add them up.
    order = np.lexsort((length, target, source))
    _, first = np.unique(source[order] * n + target[order], return_index=True)
    kept = order[first]
    return sp.csr_matrix((length[kept], (source[kept], target[kept])), shape=(n, n))


def distance_blocks(graph: sp.csr_matrix, sources: np.ndarray, *, unweighted: bool) -> Iterator[np.ndarray]:
    """Rows of distances from ``sources`` to all nodes, ``inf`` where there is no way, some rows at a time."""
    rows = max(1, _BLOCK // graph.shape[0])
    for start in range(0, len(sources), rows):
        yield csgraph.dijkstra(graph, directed=False, indices=sources[start : start + rows], unweighted=unweighted)


def graph_distances(
    edge_index: Tensor,
    num_nodes: int | None = None,
    *,
    weight: Tensor | None = None,
    sources: Tensor | None = None,
) -> Tensor:
    """Lengths of shortest paths in an undirected graph, by Dijkstra's algorithm on a sparse matrix.

    Args:
        edge_index: Edges in one direction or both, shape ``(2, E)``; loops do not matter.
        num_nodes: Number of nodes ``n``; by default one more than the largest index.
        weight: Positive lengths of the edges, shape ``(E,)``; 1 if left out.
        sources: Nodes to start from, shape ``(k,)``; all if left out.

    Returns:
        Distances in float64, ``inf`` where there is no path, shape ``(k, n)``, on the device of ``edge_index``.

    Raises:
        ValueError: If an argument has the wrong shape or range.

    Example:
        >>> graph_distances(torch.tensor([[0, 1, 2], [1, 2, 3]]), sources=torch.tensor([1]))
        tensor([[1., 0., 1., 2.]], dtype=torch.float64)
    """
    graph = adjacency(edge_index, num_nodes, weight)
    n = graph.shape[0]
    starts = np.arange(n) if sources is None else sources.detach().cpu().numpy().astype(np.int64)
    if starts.ndim != 1 or (starts.size and not 0 <= starts.min() <= starts.max() < n):
        raise ValueError(f"`sources` must be a list of nodes from 0 to {n - 1}, got {starts.tolist()}.")
    blocks = list(distance_blocks(graph, starts, unweighted=weight is None))
    rows = np.concatenate(blocks) if blocks else np.empty((0, n))
    return torch.from_numpy(rows).to(edge_index.device)
