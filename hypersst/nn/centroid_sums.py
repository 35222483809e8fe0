"""Sums of Lorentz points over neighbours, with the digits that their centroid needs."""

from __future__ import annotations

import torch
from torch import Tensor

from hypersst.manifolds import Lorentz

__all__ = ["CentroidSums"]


class CentroidSums:
    r"""Mixin of convolutions whose sums of neighbours become Lorentz centroids.

    Sums are taken in float64, of points whose time is computed anew from their space part: of a sum s that has been
    rounded to float32, :math:`\langle s, s\rangle` keeps :math:`\cosh^2` of the radius fewer digits than s, so that the
    centroid would be off by 8 % at radius 7 instead of 2e-5 (``docs/numerics.md``).
    """

    manifold: Lorentz

    def _widen(self, h: Tensor) -> Tensor:
        return self.manifold.from_space(h[..., 1:].double())

    def _centre(self, total: Tensor, dtype: torch.dtype) -> Tensor:
        return self.manifold.normalize(total, dtype=dtype)
