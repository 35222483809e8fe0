"""Distances between all points of two lists."""

from __future__ import annotations

import torch
from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.manifolds.lorentz_math import space_part, time_part
from hypersst.manifolds.stable import sqrt0
from hypersst.nn.hyperboloid import to_hyperboloid

__all__ = ["distance_matrix"]


def distance_matrix(x: Tensor, y: Tensor, manifold: Lorentz | PoincareBall) -> Tensor:
    r"""Geodesic distances :math:`d(x_i, y_j)` by one matrix product, without a tensor of all differences.

    With the Minkowski product in float64, :math:`d = \tfrac{2}{\sqrt c}\operatorname{asinh}\sqrt{-(1 + c\langle x_i,
    y_j\rangle)/2}`. The product cancels for near points far out: of points at radius 7 (in units of
    :math:`1/\sqrt c`) distances below 2e-5 and their gradients are not resolved, at a smaller radius r those below
    3e-8 cosh r; larger ones come out right. ``manifold.dist`` resolves smaller ones, pair by pair. The gradient of a
    distance of zero is zero.

    Args:
        x: Points, shape ``(*, n, ambient)``.
        y: Points, shape ``(*, m, ambient)``.
        manifold: Where they lie, a manifold of this library.

    Returns:
        Distances, shape ``(*, n, m)``, in the precision of the points, at least float32.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [0.5, 0.0]])
        >>> distance_matrix(x, x[:1], PoincareBall())
        tensor([[0.0000],
                [1.0986]])
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    c = manifold.c.double()
    x, y = to_hyperboloid(x, manifold), to_hyperboloid(y, manifold)
    product = space_part(x) @ space_part(y).mT - time_part(x) @ time_part(y).mT
    distance: Tensor = 2 * c.rsqrt() * sqrt0(-0.5 * (1 + c * product)).asinh()
    return distance.to(dtype)
