"""Uniform draws from the pairs of nodes that are *not* joined, without ever listing them.

Link prediction needs negatives: pairs without an edge. Their number grows with the square of the nodes (PubMed:
1.9e8), so they are counted, not stored. Give every unordered pair exactly two cells of a grid with ``n`` rows,
number the cells, and cross out those of the edges. The ``r``-th cell left over has the number ``r`` + (crossed-out
cells before it), and a guided search finds that count. One uniform integer thus becomes one exactly uniform
non-edge: no rejection, no loop, no host synchronisation, and memory for the edges only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypersst.datasets.guided_search import GuidedSearch

__all__ = ["NonEdges"]


class NonEdges:
    """The pairs of nodes outside a given list of pairs, ready to be sampled.

    Without loops the grid has ``n - 1`` columns; the pair ``u < v`` owns the cells ``(v, u)`` and
    ``(u, v - 1)``. With loops it has ``n + 1``; the pair ``u <= v`` owns ``(v, u)`` and ``(u, v + 1)``.

    Args:
        pairs: Pairs to keep out, shape ``(2, m)``, in any direction, repeats allowed.
        num_nodes: Number of nodes ``n``.
        loops: Whether a node paired with itself counts as a pair (in HGCN's splits it does).

    Raises:
        ValueError: If no pair is left.

    Example:
        >>> outside = NonEdges(torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
        >>> outside.count
        1
        >>> outside.sample(2, torch.Generator().manual_seed(0))
        tensor([[0, 0],
                [2, 2]])
    """

    def __init__(self, pairs: Tensor, num_nodes: int, *, loops: bool = False) -> None:
        self.num_nodes, self.loops = num_nodes, loops
        self._columns = num_nodes + 1 if loops else num_nodes - 1
        low, high = pairs.min(dim=0).values, pairs.max(dim=0).values
        if not loops:
            low, high = low[low != high], high[low != high]
        shift = 1 if loops else -1
        cells = torch.cat((high * self._columns + low, low * self._columns + high + shift)).unique()
        self._device = cells.device
        self._free = num_nodes * self._columns - cells.numel()
        if self._free <= 0:
            raise ValueError(
                f"`edge_index` must leave at least one pair of nodes unjoined, got all pairs of {num_nodes} nodes."
            )
        kept_before = cells - torch.arange(cells.numel(), device=cells.device)
        self._crossed_out_before = GuidedSearch(kept_before, end=self._free)

    @property
    def count(self) -> int:
        """Number of pairs outside the list."""
        return self._free // 2

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` pairs uniformly with replacement.

        Args:
            n: Number of pairs, at least 0.
            generator: Source of the draws; it may live on another device than the pairs.

        Returns:
            Pairs with the smaller node first, shape ``(2, n)``.
        """
        if n < 0:
            raise ValueError(f"`n` must be at least 0, got {n}.")
        ranks = torch.randint(self._free, (n,), generator=generator, device=generator.device)
        return self._pairs_of(ranks.to(self._device))

    def sample_distinct(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` different pairs, uniformly among all such draws, in random order.

        Args:
            n: Number of pairs, between 0 and ``count``.
            generator: Source of the draws.

        Returns:
            Pairs with the smaller node first, shape ``(2, n)``.

        Raises:
            ValueError: If fewer than ``n`` pairs exist.
        """
        if n > self.count:
            raise ValueError(f"`n` must be at most the {self.count} pairs without an edge, got {n}.")
        if 2 * n >= self.count:
            # Too few left for "draw again": both cells of every pair in random order, first one counts.
            ranks = torch.randperm(self._free, generator=generator, device=generator.device)
            return _distinct(self._pairs_of(ranks.to(self._device)), self.num_nodes)[:, :n]
        drawn = self.sample(n, generator)
        while True:
            # Dropping repeats of a sequence of uniform draws leaves draws without replacement.
            drawn = _distinct(drawn, self.num_nodes)
            if drawn.size(1) >= n:
                return drawn[:, :n]
            drawn = torch.cat((drawn, self.sample(n, generator)), dim=1)

    def _pairs_of(self, ranks: Tensor) -> Tensor:
        cells = ranks + self._crossed_out_before(ranks)
        row = cells.div(self._columns, rounding_mode="floor")
        column = cells - row * self._columns
        column = column - (column > row).long() if self.loops else column + (column >= row).long()
        return torch.stack((torch.minimum(row, column), torch.maximum(row, column)))


def _distinct(pairs: Tensor, num_nodes: int) -> Tensor:
    """Keep the first of equal columns, in their order."""
    _, inverse = (pairs[0] * num_nodes + pairs[1]).unique(return_inverse=True)
    position = torch.arange(inverse.numel(), device=inverse.device)
    first = torch.full_like(position, inverse.numel()).scatter_reduce(0, inverse, position, "amin")
    return pairs[:, first[first < inverse.numel()].sort().values]
