r"""Does the neighbourhood of a point hold the neighbours of its node?

# Note [ranks of neighbours]

For a node u with neighbours N(u), let a(v) be the nodes w ≠ u with d(u, w) ≤ d(u, v), and p(v) those of them in N(u).
Average precision as scikit-learn has it is the mean over v in N(u) of p(v)/a(v), ties on the side of caution; and a − p
counts the non-neighbours that are as near as v. So two sorted rows, all distances and those of neighbours, and binary
searches in them give both scores.

Non-neighbours exactly as far as v count half in its rank, which is the expected rank when ties are broken at random. If
they did not count, an embedding that sends all nodes to one point would have the perfect mean rank 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Reconstruction", "mean_average_precision", "mean_rank", "reconstruction"]

#: Distance of broadcastable points, shape ``(*)`` for points ``(*, ambient)``, such as ``manifold.dist``.
Distance = Callable[[Tensor, Tensor], Tensor]

# Coordinates of the pairs of points whose distances are taken at a time: 16 MiB of float32.
_BLOCK = 2**22


@dataclass(frozen=True)
class Reconstruction:
    """How well neighbours are found among all nodes.

    Attributes:
        mean_rank: Mean over all pairs (u, v) of the rank of v among the non-neighbours of u; 1 is perfect.
        mean_average_precision: Mean over all u with neighbours of the average precision; 1 is perfect.
    """

    mean_rank: float
    mean_average_precision: float


def reconstruction(
    points: Tensor, edge_index: Tensor, dist: Distance, *, chunk_size: int | None = None
) -> Reconstruction:
    r"""Mean rank and mean average precision of a graph's reconstruction from an embedding.

    For each pair (u, v) of the graph, v is ranked by distance among all nodes that are *not* neighbours of u; for each
    u that has neighbours, the average precision of finding them by distance is taken. The mean rank is over pairs, the
    mean average precision over nodes; u itself never counts. Pairs have a direction: for the closure of a hierarchy,
    pairs (narrower, broader) rank the ancestors of each node, as in the paper. Give both directions for an undirected
    graph. See Note [ranks of neighbours] for ties.

    Source: Nickel and Kiela (2017), *Poincaré Embeddings for Learning Hierarchical Representations*, section 4.1, with
    the details of the authors' ``eval_reconstruction``.

    Args:
        points: One point per node, shape ``(n, ambient)``.
        edge_index: Pairs (u, v), shape ``(2, E)``; repeats count once.
        dist: Distance of points, such as ``manifold.dist``.
        chunk_size: Nodes u at a time; memory is about ``chunk_size * n * ambient`` numbers. By default as many as make
            that :math:`2^{22}`.

    Returns:
        Both scores.

    Raises:
        ValueError: If ``edge_index`` is empty, holds a pair (u, u) or an index outside, or a distance is
            not finite.

    Example:
        >>> line = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
        >>> pairs = torch.tensor([[0, 1, 3], [1, 0, 1]])
        >>> reconstruction(line, pairs, lambda x, y: (x - y).norm(dim=-1))
        Reconstruction(mean_rank=1.5, mean_average_precision=0.6666666666666666)
    """
    n = points.size(0)
    source, target = _unique_pairs(edge_index, n)
    nodes, degree = source.unique_consecutive(return_counts=True)
    rows = chunk_size if chunk_size is not None else max(1, _BLOCK // points.numel())
    if rows < 1:
        raise ValueError(f"`chunk_size` must be at least 1, got {chunk_size}.")
    ranks = points.new_zeros((), dtype=torch.float64)
    precisions = torch.zeros_like(ranks)
    ends = degree.cumsum(0)
    with torch.no_grad():
        for start in range(0, nodes.numel(), rows):
            part, count = nodes[start : start + rows], degree[start : start + rows]
            pairs = slice(int(ends[start] - count[0]), int(ends[start + count.numel() - 1]))
            distances = dist(points[part].unsqueeze(1), points)
            if not distances.isfinite().all():
                raise ValueError("`points` must have finite distances, got NaN or infinity.")
            rank, precision = _scores(distances, part, count, target[pairs])
            ranks += rank
            precisions += precision
    return Reconstruction((ranks / target.numel()).item(), (precisions / nodes.numel()).item())


def mean_rank(points: Tensor, edge_index: Tensor, dist: Distance, *, chunk_size: int | None = None) -> float:
    """Mean rank of neighbours among non-neighbours, 1 at best; see `reconstruction`, which gives both scores at once.

    Args:
        points: One point per node, shape ``(n, ambient)``.
        edge_index: Pairs (u, v), shape ``(2, E)``.
        dist: Distance of points, such as ``manifold.dist``.
        chunk_size: Nodes u at a time.
    """
    return reconstruction(points, edge_index, dist, chunk_size=chunk_size).mean_rank


def mean_average_precision(
    points: Tensor, edge_index: Tensor, dist: Distance, *, chunk_size: int | None = None
) -> float:
    """Mean average precision of finding neighbours by distance, 1 at best; see `reconstruction`.

    Args:
        points: One point per node, shape ``(n, ambient)``.
        edge_index: Pairs (u, v), shape ``(2, E)``.
        dist: Distance of points, such as ``manifold.dist``.
        chunk_size: Nodes u at a time.
    """
    return reconstruction(points, edge_index, dist, chunk_size=chunk_size).mean_average_precision


def _unique_pairs(edge_index: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Source and target of the pairs without repeats, sorted by source."""
    if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.size(1) == 0:
        raise ValueError(f"`edge_index` must have shape (2, E) with E at least 1, got {tuple(edge_index.shape)}.")
    if edge_index.min() < 0 or edge_index.max() >= n:
        raise ValueError(
            f"`edge_index` must hold rows of `points`, 0 to {n - 1}, got {edge_index.min()} to {edge_index.max()}."
        )
    if (edge_index[0] == edge_index[1]).any():
        loop = edge_index[0][edge_index[0] == edge_index[1]][0]
        raise ValueError(f"`edge_index` must not pair a node with itself, got ({loop}, {loop}).")
    keys = (edge_index[0].long() * n + edge_index[1].long()).unique()
    return keys // n, keys % n


def _scores(distances: Tensor, nodes: Tensor, degree: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of ranks over the pairs and sum of average precisions over the nodes, see Note [ranks of neighbours].

    Args:
        distances: From each of the ``nodes`` to all, shape ``(rows, n)``.
        nodes: Their numbers, shape ``(rows,)``.
        degree: Numbers of their neighbours, shape ``(rows,)``.
        target: Their neighbours, row after row.
    """
    rows = torch.arange(nodes.numel(), device=nodes.device)
    distances = distances.scatter(1, nodes.unsqueeze(1), torch.inf)  # u itself comes last
    row = rows.repeat_interleave(degree)
    column = torch.arange(row.numel(), device=row.device) - (degree.cumsum(0) - degree)[row]
    # Neighbours' distances, one row per node, `inf` behind the last.
    near = distances.new_full((nodes.numel(), int(degree.max())), torch.inf)
    near[row, column] = distances[row, target]
    near = near.sort(dim=1).values
    everyone = distances.sort(dim=1).values
    no_farther = torch.searchsorted(everyone, near, right=True), torch.searchsorted(near, near, right=True)
    nearer = torch.searchsorted(everyone, near), torch.searchsorted(near, near)
    rank = 1.0 + 0.5 * (no_farther[0] - no_farther[1] + nearer[0] - nearer[1]).double()
    precision = no_farther[1].double() / no_farther[0].double()
    # Behind the last neighbour both are counts of padding.
    padding = torch.arange(near.size(1), device=row.device) >= degree.unsqueeze(1)
    rank, precision = rank.masked_fill(padding, 0.0), precision.masked_fill(padding, 0.0)
    return rank.sum(), (precision.sum(dim=1) / degree).sum()
