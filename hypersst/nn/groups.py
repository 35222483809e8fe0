"""Which points share a mean: those along an axis, or those with the same index."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Groups", "group_points"]


@dataclass(frozen=True)
class Groups:
    """Sums over the points of each group, and the way back from groups to points.

    Args:
        index: Group of each row, integers of shape ``(n,)``; ``None`` if the last axis but one is the group.
        size: Number of groups, of no meaning without ``index``.
    """

    index: Tensor | None = None
    size: int = 0

    def total(self, values: Tensor) -> Tensor:
        """Sum over each group, ``(*, n, k)`` to ``(*, k)``, or ``(n, k)`` to ``(size, k)`` with an index."""
        if self.index is None:
            return values.sum(dim=-2)
        return values.new_zeros(self.size, values.size(-1)).index_add(0, self.index, values)

    def spread(self, values: Tensor) -> Tensor:
        """Give each point what belongs to its group, ``(*, k)`` to ``(*, 1, k)``, or ``(size, k)`` to ``(n, k)``."""
        return values.unsqueeze(-2) if self.index is None else values.index_select(0, self.index)

    def shares(self, x: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights as shares of their group's sum, which is one, or zero in a group without weight.

        Args:
            x: Points, shape ``(*, n, ambient)``.
            weight: Weights that are not negative, shape ``(*, n)``; ``None`` for equal ones.

        Returns:
            Shares in the precision of ``x``, shape ``(*, n, 1)``, and which groups are without weight, ``(*, 1)``.
        """
        weight = x.new_ones(x.shape[:-1]) if weight is None else weight.to(x.dtype)
        weight = weight.unsqueeze(-1)
        total = self.total(weight)
        empty = total == 0
        return weight / self.spread(torch.where(empty, 1.0, total)), empty


def group_points(x: Tensor, weight: Tensor | None, index: Tensor | None, dim_size: int | None) -> Groups:
    """Groups of points for arguments as PyG's poolings take them.

    Args:
        x: Points, shape ``(*, n, ambient)``, with an index ``(n, ambient)``.
        weight: Shape ``(*, n)``, or ``None``.
        index: Group of each row, integers of shape ``(n,)``, or ``None``.
        dim_size: Number of groups; ``None`` for one more than the largest index, which waits for the device.

    Raises:
        ValueError: If the shapes do not fit, or ``dim_size`` is given without ``index``.
    """
    if x.dim() < 2:
        raise ValueError(f"`x` must have an axis of points before that of coordinates, got shape {tuple(x.shape)}.")
    if weight is not None and weight.shape[-1:] != x.shape[-2:-1]:
        raise ValueError(
            f"`weight` must have one entry for each of {x.size(-2)} points, got shape {tuple(weight.shape)}."
        )
    if index is None:
        if dim_size is not None:
            raise ValueError(f"`dim_size` must be left out without `index`, got {dim_size}.")
        return Groups()
    if x.dim() != 2 or index.shape != x.shape[:1]:
        raise ValueError(
            f"`x` and `index` must have shapes (n, ambient) and (n,), got {tuple(x.shape)} and {tuple(index.shape)}."
        )
    if weight is not None and weight.shape != index.shape:
        raise ValueError(f"`weight` must have the shape of `index`, {tuple(index.shape)}, got {tuple(weight.shape)}.")
    if dim_size is None:
        dim_size = int(index.max()) + 1 if index.numel() else 0
    return Groups(index, dim_size)
