"""Uniform draws from the nodes that are *not* neighbours of a given node, without ever listing them.

`hypersst.datasets.NonEdges` draws pairs; here the first node of each pair is given, as ranking losses need it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypersst.datasets.guided_search import GuidedSearch

__all__ = ["NonNeighbours"]


class NonNeighbours:
    """Uniform draws from the nodes that are not neighbours of a node, without listing them.

    Counted from 0, the r-th node that is neither u nor a neighbour of u is r + (those that are, before it), and these
    are counted by a guided search in one sorted list for all u. So each draw is one uniform number, without rejection,
    and memory is for the pairs only.

    Args:
        pairs: Columns (u, neighbour of u), shape ``(2, E)``.
        num_nodes: Number of nodes ``n``.

    Raises:
        ValueError: If a node has all others as neighbours.

    Example:
        >>> outside = NonNeighbours(torch.tensor([[0, 0, 1], [1, 3, 0]]), num_nodes=4)
        >>> outside.sample(torch.tensor([0]), 3, torch.Generator())
        tensor([[2, 2, 2]])
    """

    def __init__(self, pairs: Tensor, num_nodes: int) -> None:
        n = torch.arange(num_nodes, device=pairs.device)
        keys = torch.cat((pairs[0] * num_nodes + pairs[1], n * num_nodes + n)).unique()
        node, taken = keys // num_nodes, keys % num_nodes
        counts = torch.bincount(node, minlength=num_nodes)
        self.num_nodes = num_nodes
        self.free = num_nodes - counts
        self._start = counts.cumsum(0) - counts
        # Below the i-th taken node of u there are `taken - i` free ones.
        place = torch.arange(keys.numel(), device=keys.device) - self._start[node]
        self._taken_before = GuidedSearch(node * num_nodes + taken - place, end=num_nodes**2)
        if (self.free == 0).any():
            full = int((self.free == 0).nonzero()[0])
            raise ValueError(f"`pairs` must leave each node a non-neighbour, but node {full} has all as neighbours.")

    def sample(self, nodes: Tensor, k: int, generator: torch.Generator) -> Tensor:
        """Draw ``k`` non-neighbours of each of the ``nodes``, with replacement.

        Args:
            nodes: Shape ``(b,)``.
            k: Number of draws each.
            generator: Source of the draws; it may live on another device.

        Returns:
            Shape ``(b, k)``.
        """
        uniform = torch.rand(nodes.numel(), k, dtype=torch.float64, generator=generator, device=generator.device)
        rank = (uniform.to(nodes.device) * self.free[nodes].unsqueeze(1)).long()
        wanted = nodes.unsqueeze(1) * self.num_nodes + rank
        return rank + self._taken_before(wanted) - self._start[nodes].unsqueeze(1)
