r"""What a learning rate of a point means.

# Note [radians and elements]

Let u be the tangent vector that a step follows, :math:`\lVert u\rVert_x` its Riemannian length at the point x (the
length of a geodesic: an angle on the sphere, a hyperbolic distance on the hyperboloid and in the ball) and
:math:`\lVert u\rVert_2` the Euclidean length of its coordinates.

``"radians"``, geoopt's reading: Adam's u is as long as lr (exactly so in its first step, about so later); SGD's u is lr
times the Riemannian gradient.

``"elements"``: as an element-wise optimizer would move the coordinates. Adam's u has :math:`\lVert u\rVert_2 =
\mathrm{lr}\,\sqrt n` where the other reading has :math:`\lVert u\rVert_x = \mathrm{lr}`, n being the number of
coordinates of a point (of a row on sphere, hyperboloid and ball; of a matrix on Stiefel): its root mean square entry is
lr. SGD's u is multiplied by :math:`(\lVert u\rVert_x / \lVert u\rVert_2)^2`, by which ball and Euclidean gradient
differ. On sphere and Stiefel the two lengths agree, so there Adam's rates differ by :math:`\sqrt n` and SGD's not at
all. On the hyperboloid a step of given Euclidean length gets *shorter* as the point moves out, in the ball *longer*.

`hypersst.param_groups(..., unit=...)` converts rates of spectral vectors for any optimizer, by the same
:math:`\sqrt n`, and needs no ``unit`` here; set one of the two, not both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["UNITS", "length_ratio"]

UNITS = ("radians", "elements")


def length_ratio(manifold: Any, x: Tensor, u: Tensor) -> Tensor:
    r"""Riemannian over Euclidean length, :math:`\lVert u\rVert_x / \lVert u\rVert_2`; 0 where u is zero.

    Args:
        manifold: A geoopt manifold.
        x: Points, shape ``(*, d)``.
        u: Tangent vectors at x, shape ``(*, d)``.

    Returns:
        Ratios in the shape of the manifold's ``component_inner``, ``(*, 1)`` for rows.
    """
    square = manifold.component_inner(x, u)
    euclidean = (u * u).sum_to_size(square.shape)
    return (square.clamp_min(0) / euclidean.clamp_min(torch.finfo(u.dtype).tiny)).sqrt()
