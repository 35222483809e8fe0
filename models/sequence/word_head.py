"""Scores of the words of a vocabulary, by distance."""

from __future__ import annotations

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.manifolds.stable import at_least_float32
from hypersst.nn.heads import PrototypeHead
from hypersst.nn.shapes import check_features

__all__ = ["WordHead"]


class WordHead(PrototypeHead):
    r"""Score words as `hypersst.nn.PrototypeHead` scores classes, for tens of thousands of them.

    .. math:: \ell_k = b_k - d_L^2(x, p_k) = b_k + \tfrac{2}{c} + 2\langle x, p_k\rangle

    Two things differ. The matrix product is float32 instead of float64, also under autocast: scores of 64-dimensional
    points are then off by 1e-4 at most at radii 3 (of x) and 2 (of p), by 2e-3 at 5 and 3 and by 0.1 at 7 and 5, and
    forward and backward on a CPU take a third of the time. And prototypes begin near the origin, such that the words
    are about equally likely at first: one unit away, as there, the first loss would be far above their logarithm.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, as in the authors' code.

    Args:
        in_channels: Intrinsic dimensions of the points.
        out_channels: Number of words.
        bias: Learn :math:`b`.
        manifold: Where points and prototypes lie; curvature -1 if left out.

    Shapes:
        - input: ``(*, in_channels + 1)``;
        - output: ``(*, out_channels)``, float32 or wider.

    Example:
        >>> head = WordHead(16, 1000)
        >>> head(head.manifold.from_space(torch.zeros(5, 16))).shape
        torch.Size([5, 1000])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, bias, manifold=manifold)

    def _draw(self) -> Tensor:
        # Points that a layer norm sends here have space parts of length sqrt(d): their scores then deviate by about
        # 2 · 0.02 · sqrt(d), which is 0.3 for d = 64.
        with torch.no_grad():
            return self.manifold.expmap0_space(0.02 * torch.randn(self.out_channels, self.in_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Score points ``x``, shape ``(*, in_channels + 1)``, for each word, shape ``(*, out_channels)``."""
        check_features(x, self.in_channels + 1, "in_channels + 1")
        points, prototypes = (self.manifold.from_space(at_least_float32(p)[..., 1:]) for p in (x, self.prototypes))
        mirrored = torch.cat((-prototypes[:, :1], prototypes[:, 1:]), dim=-1)
        offset = (2.0 / self.manifold.c).expand(self.out_channels)
        offset = offset if self.bias is None else offset + self.bias
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(2.0 * points, mirrored, offset.to(points.dtype))
