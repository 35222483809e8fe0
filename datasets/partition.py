r"""Cutting a graph into connected-looking parts of equal size, with few edges between them, in linear time.

Cluster-GCN (Chiang et al., 2019) trains on unions of such parts and takes them from METIS; this one needs numpy and
scipy only.

1. **Order.** A breadth-first tree from the node of largest degree (one per component) is walked in preorder: every
   subtree is then an interval. The order is cut into intervals of equal length, which are unions of few subtrees.
2. **Refinement.** In each round a random half of the nodes may move to the part that holds most of their neighbours,
   the largest gains first, as long as sizes stay within `SLACK` of the mean: label propagation under a constraint on
   sizes (Meyerhenke, Sanders and Schulz, 2014, *Partitioning complex networks via size-constrained clustering*).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.sparse import csgraph
from torch import Tensor

__all__ = ["SLACK", "cut_share", "partition"]

SLACK = 0.05
"""How far the size of a part may be from the mean, as a share of it; sizes of a few nodes may be off by one."""

_ROUNDS = 10

Integers = NDArray[np.int64]


def partition(edge_index: Tensor, num_nodes: int, parts: int, *, seed: int = 0) -> Tensor:
    """Deal the nodes to parts of nearly equal size with few edges between them; the module's text says how.

    Time and memory grow with nodes and edges, not with ``parts``. The result is good, not optimal.

    Args:
        edge_index: Edges, shape ``(2, E)``, in one direction or both; self-loops are ignored.
        num_nodes: Number of nodes.
        parts: Number of parts, between 1 and ``num_nodes``.
        seed: Seed of the refinement.

    Returns:
        The part of each node, in ``[0, parts)``, each occurring, shape ``(num_nodes,)``, on the device of the edges.

    Raises:
        ValueError: If ``parts`` is out of range.

    Example:
        >>> path = torch.stack((torch.arange(9), torch.arange(1, 10)))
        >>> partition(path, 10, 2).bincount().tolist()
        [5, 5]
    """
    if not 1 <= parts <= num_nodes:
        raise ValueError(f"`parts` must be between 1 and the number of nodes = {num_nodes}, got {parts}.")
    if parts == 1:
        return torch.zeros(num_nodes, dtype=torch.long, device=edge_index.device)
    graph = _symmetric(edge_index.cpu().numpy(), num_nodes)
    part = _preorder(graph) * parts // num_nodes
    random = np.random.default_rng(seed)
    for _ in range(_ROUNDS):
        if not _refine(graph, part, parts, random):
            break
    return torch.from_numpy(part).to(edge_index.device)


def cut_share(edge_index: Tensor, part: Tensor) -> float:
    """Share of the edges ``(2, E)`` that lead from one part to another, self-loops not counted."""
    source, target = edge_index[:, edge_index[0] != edge_index[1]]
    return float((part[source] != part[target]).double().mean()) if source.numel() else 0.0


def _symmetric(edges: Integers, num_nodes: int) -> sp.csr_matrix:
    """Ones for each edge in both directions, without self-loops."""
    source, target = edges[:, edges[0] != edges[1]]
    shape = (num_nodes, num_nodes)
    graph = sp.csr_matrix((np.ones(source.size, dtype=np.int32), (source, target)), shape=shape)
    graph = graph + graph.T
    graph.data[:] = 1
    return graph


def _preorder(graph: sp.csr_matrix) -> Integers:
    """Place of each node when breadth-first trees from the nodes of largest degree are walked in preorder."""
    n = graph.shape[0]
    # One more node joins the components, so that there is one tree; it comes first and is left out at the end.
    _, component = csgraph.connected_components(graph, directed=False)
    degree = np.diff(graph.indptr)
    by_degree = np.lexsort((-degree, component))
    _, first = np.unique(component[by_degree], return_index=True)
    roots = by_degree[first]
    above_all = sp.csr_matrix((np.ones(roots.size, dtype=np.int32), roots, [0, roots.size]), shape=(1, n))
    joined = sp.vstack(
        (sp.hstack((graph, sp.csr_matrix((n, 1), dtype=np.int32))), sp.hstack((above_all, [[0]])))
    ).tocsr()
    order, before = csgraph.breadth_first_order(joined, n, directed=True)
    # From here on nodes are named by their place in that order. Parents then ascend, so siblings are side by side.
    place = np.empty(n + 1, dtype=np.int64)
    place[order] = np.arange(n + 1)
    parent = np.zeros(n + 1, dtype=np.int64)
    parent[1:] = place[before[order[1:]]]
    levels = [(0, 1)]
    while levels[-1][1] <= n:
        levels.append((levels[-1][1], int(np.searchsorted(parent, levels[-1][1], side="left"))))
    size = np.ones(n + 1, dtype=np.int64)
    for start, end in reversed(levels[1:]):
        np.add.at(size, parent[start:end], size[start:end])
    earlier = np.cumsum(size) - size
    first_child = np.searchsorted(parent[1:], np.arange(n + 1)) + 1
    pre = np.zeros(n + 1, dtype=np.int64)
    for start, end in levels[1:]:
        above = parent[start:end]
        pre[start:end] = pre[above] + 1 + earlier[start:end] - earlier[first_child[above]]
    return pre[place[:n]] - 1


def _refine(graph: sp.csr_matrix, part: Integers, parts: int, random: np.random.Generator) -> int:
    """Let nodes move to the part of most of their neighbours, in place; returns how many did."""
    n = part.size
    member = sp.csr_matrix((np.ones(n, dtype=np.int32), part, np.arange(n + 1)), shape=(n, parts))
    # The identity keeps rows from being empty and makes a node stay when it gains nothing.
    counts = (graph @ member + member).tocsr()
    row = np.repeat(np.arange(n), np.diff(counts.indptr))
    most = np.maximum.reduceat(counts.data, counts.indptr[:-1])
    own = np.zeros(n, dtype=np.int32)
    mine = counts.indices == part[row]
    own[row[mine]] = counts.data[mine]
    best = np.zeros(n, dtype=np.int64)
    top = counts.data == most[row]
    best[row[top]] = counts.indices[top]
    movers = np.flatnonzero((most > own) & (random.random(n) < 0.5))
    movers = movers[np.argsort(own[movers] - most[movers], kind="stable")]
    sizes = np.bincount(part, minlength=parts)
    mean = n / parts
    most_allowed, least_allowed = int(np.ceil(mean * (1 + SLACK))), max(1, int(np.floor(mean * (1 - SLACK))))
    movers = movers[_rank(best[movers]) < (most_allowed - sizes)[best[movers]]]
    movers = movers[_rank(part[movers]) < (sizes - least_allowed)[part[movers]]]
    part[movers] = best[movers]
    return movers.size


def _rank(labels: Integers) -> Integers:
    """How many equal labels come before each."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size) - np.searchsorted(ordered, ordered)
    return rank
