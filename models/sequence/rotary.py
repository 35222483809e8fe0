"""Rotary positions: pairs of coordinates turned by angles that grow with the position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypersst.manifolds.stable import at_least_float32
from hypersst.nn.shapes import check_channels

__all__ = ["RotaryPositions"]


class RotaryPositions(nn.Module):
    r"""Turn the pair :math:`(2k, 2k + 1)` of coordinates at position i by the angle :math:`10000^{-2k/d}\,i`.

    Turned queries and keys have products that depend on the difference of their positions only. Applied to the space
    part of Lorentz points it is an isometry, so the same is true of their distances; `HyperbolicPositionalEncoding` is
    this map on points. Here cosines and sines are computed once, in float64, for all layers.

    Source: Su et al. (2021), *RoFormer: Enhanced Transformer with Rotary Position Embedding*, eq. 34.

    Args:
        dim: Number d of coordinates of a head, even.
        max_length: Largest number of positions.

    Raises:
        ValueError: If a number is below 1 or ``dim`` is odd; in ``forward``, if positions go beyond ``max_length``.

    Example:
        >>> turn = RotaryPositions(2, 10)
        >>> turn(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor([[1.0000, 0.0000],
                [0.5403, 0.8415]])
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, dim: int, max_length: int) -> None:
        super().__init__()
        check_channels(dim=dim, max_length=max_length)
        if dim % 2:
            raise ValueError(f"`dim` of a head must be even for rotary positions, got {dim}.")
        self.max_length = max_length
        pair = torch.arange(dim // 2, dtype=torch.float64)
        angles = torch.arange(max_length, dtype=torch.float64).unsqueeze(-1) * 10000.0 ** (-2.0 * pair / dim)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Turn ``x``, shape ``(*, L, dim)``, whose positions are counted from ``start``."""
        end = start + x.shape[-2]
        if end > self.max_length:
            raise ValueError(f"`max_length` = {self.max_length} must not be exceeded, got {end} positions.")
        even, odd = at_least_float32(x).unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = self.cos[start:end].to(even.dtype), self.sin[start:end].to(even.dtype)
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)

    def extra_repr(self) -> str:
        """Largest number of positions."""
        return f"max_length={self.max_length}"
