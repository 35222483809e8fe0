"""Work on the weights of a model that several processes hold, shared out among them.

Replicas that take the same steps stay equal by themselves, but for decompositions: two machines may give singular
vectors of opposite signs, or others where singular values coincide. So one process decomposes a weight and sends the
result to all, which is also a part of the work for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Replicas"]


class Replicas:
    """Processes of which each holds the same tensors: item i belongs to process i mod world.

    A single process owns everything and sends nothing.

    Args:
        group: The processes; ``None`` for all, or for this one alone where `torch.distributed` is not initialised.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self.rank, self.world = 0, 1
        if dist.is_available() and dist.is_initialized():
            self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)

    def owns(self, position: int) -> bool:
        """Whether item ``position`` is this process's to work on."""
        return position % self.world == self.rank

    def each(
        self, positions: Sequence[int], answer: Callable[[int], bool], device: torch.device, *, by_all: bool = False
    ) -> list[bool]:
        """Ask the owner of each item, and tell all.

        Args:
            positions: Items, the same in every process.
            answer: Called for the items that are this process's.
            device: Where this process's tensors are.
            by_all: Call ``answer`` for all items, as it needs all processes; the owner's counts.
        """
        found = [(by_all or self.owns(position)) and answer(position) and self.owns(position) for position in positions]
        if self.world == 1 or not positions:
            return found
        flags = torch.tensor(found, dtype=torch.uint8, device=device)
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._group)
        return [bool(flag) for flag in flags.tolist()]

    def send(self, position: int, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors of an item by its owner's, in place."""
        if self.world == 1:
            return
        owner = position % self.world
        source = owner if self._group is None else dist.get_global_rank(self._group, owner)
        for tensor in tensors:
            dist.broadcast(tensor.detach(), source, group=self._group)
