"""Points of either model as Lorentz points in float64, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare, poincare_to_lorentz
from hypersst.manifolds.lorentz_math import from_space, space_part

__all__ = ["from_hyperboloid", "to_hyperboloid"]


def to_hyperboloid(x: Tensor, manifold: Lorentz | PoincareBall) -> Tensor:
    r"""The points as Lorentz points of the same curvature in float64, their time recomputed.

    Sums of points and Minkowski products of far points lose cosh²(radius) digits: at radius 7 float32 has none of them
    left and float64 eleven.

    Args:
        x: Points, shape ``(*, d + 1)`` on the Lorentz manifold, ``(*, d)`` on the ball.
        manifold: Where they lie.

    Returns:
        Shape ``(*, d + 1)``.
    """
    c = manifold.c.double()
    if isinstance(manifold, Lorentz):
        return from_space(space_part(x).double(), c)
    return poincare_to_lorentz(x.double(), c)


def from_hyperboloid(x: Tensor, manifold: Lorentz | PoincareBall, like: Tensor) -> Tensor:
    """Inverse of `to_hyperboloid`.

    Args:
        x: Lorentz points in float64, shape ``(*, d + 1)``.
        manifold: Where the result lies.
        like: Tensor whose precision the result gets, at least float32.

    Returns:
        Points, shape ``(*, d + 1)`` on the Lorentz manifold, ``(*, d)`` on the ball.
    """
    if not isinstance(manifold, Lorentz):
        x = lorentz_to_poincare(x, manifold.c.double())
    return x.to(torch.promote_types(like.dtype, torch.float32))
