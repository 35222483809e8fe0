"""Positions in a sequence, for Euclidean Transformers; `hypersst.nn.HyperbolicPositionalEncoding` is their twin."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hypersst.nn.positional_encoding import sinusoids
from hypersst.nn.shapes import check_channels

__all__ = ["LearnedPositions", "SinusoidalPositions"]


class SinusoidalPositions(nn.Module):
    r"""Add sines and cosines of the position to embeddings: :math:`\sqrt d\,x_i + p_i`.

    .. math:: p_i = (\sin\theta_0 i, \cos\theta_0 i, \sin\theta_1 i, \dots), \qquad \theta_k = 10000^{-2k/d}

    Source: Vaswani et al. (2017), *Attention Is All You Need*, sections 3.4 and 3.5; embeddings are drawn with
    variance 1/d, so both summands are of one size.

    Args:
        dim: Dimensions d.
        max_length: Largest number of positions.

    Raises:
        ValueError: If a number is below 1; in ``forward``, if positions go beyond ``max_length``.

    Example:
        >>> SinusoidalPositions(4, 10)(torch.zeros(1, 2, 4))[0, 1].tolist()[:2]
        [0.8414709568023682, 0.5403022766113281]
    """

    table: Tensor

    def __init__(self, dim: int, max_length: int) -> None:
        super().__init__()
        check_channels(dim=dim, max_length=max_length)
        self.scale = math.sqrt(dim)
        pair = torch.arange((dim + 1) // 2, dtype=torch.float64)
        angles = torch.arange(max_length, dtype=torch.float64).unsqueeze(-1) * 10000.0 ** (-2.0 * pair / dim)
        self.register_buffer("table", sinusoids(angles)[:, :dim].float(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Add positions ``start``, ``start + 1``, … to ``x``, shape ``(B, L, dim)``."""
        end = _checked_end(start, x, len(self.table))
        return self.scale * x + self.table[start:end].to(x.dtype)

    def extra_repr(self) -> str:
        """Largest number of positions."""
        return f"max_length={len(self.table)}"


class LearnedPositions(nn.Module):
    """Add a learned vector for each position to embeddings.

    Source: Gehring et al. (2017), *Convolutional Sequence to Sequence Learning*; Zhang et al. (2022), *OPT*.

    Args:
        dim: Dimensions.
        max_length: Number of positions.

    Raises:
        ValueError: If a number is below 1; in ``forward``, if positions go beyond ``max_length``.

    Example:
        >>> LearnedPositions(4, 10)(torch.zeros(1, 2, 4)).shape
        torch.Size([1, 2, 4])
    """

    def __init__(self, dim: int, max_length: int) -> None:
        super().__init__()
        check_channels(dim=dim, max_length=max_length)
        self.table = nn.Embedding(max_length, dim)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Add positions ``start``, ``start + 1``, … to ``x``, shape ``(B, L, dim)``."""
        end = _checked_end(start, x, self.table.num_embeddings)
        return x + self.table.weight[start:end]


def _checked_end(start: int, x: Tensor, max_length: int) -> int:
    end = start + x.shape[-2]
    if end > max_length:
        raise ValueError(f"`max_length` = {max_length} must not be exceeded, got {end} positions.")
    return end
