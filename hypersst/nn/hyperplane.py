r"""Signed distances to hyperplanes, from which fully connected layers and regressions are built.

A hyperplane is given by its direction :math:`z` (Euclidean, its norm scales the distance) and the signed
distance of its foot from the origin. Both functions here are one map seen in two models: with
:math:`x_s = \lambda y` and :math:`\sqrt c\,x_0 = \lambda - 1` for a ball point :math:`y`, the Poincaré
form with :math:`(z, r)` equals the Lorentz form with :math:`(2z, 2r)`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.manifolds.stable import at_least_float32
from hypersst.nn.sparse import CSRMatrix, linear

__all__ = ["lorentz_hyperplanes", "poincare_hyperplanes", "space_from_distances"]

# Bounds in units of 1/sqrt(c), wide of every radius that a float can resolve, so they change no result that could be
# computed: cosh and sinh overflow at 88 in float32 and their squares at 44. A foot gets the tighter one, because
# its cosh is multiplied by coordinates before the square is taken.
_LARGEST_OFFSET = 30.0
_LARGEST_DISTANCE = 40.0


def lorentz_hyperplanes(x: Tensor | CSRMatrix, weight: Tensor, offset: Tensor | None, c: Tensor) -> Tensor:
    r"""Signed, scaled distances of Lorentz points to hyperplanes.

    With :math:`\alpha_k = \cosh(\sqrt c\,a_k)\langle z_k, x_s\rangle - \sinh(\sqrt c\,a_k)\lVert z_k\rVert x_0`,

    .. math:: v_k = \frac{\lVert z_k\rVert}{\sqrt c} \operatorname{asinh} \frac{\sqrt c\,\alpha_k}{\lVert z_k\rVert}.

    Source: Bdeir, Schwethelm and Landwehr (2024), *Fully Hyperbolic Convolutional Neural Networks for Computer
    Vision*, the Lorentz MLR. There the denominator is the difference of two large squares; it equals
    :math:`\lVert z_k\rVert`, which is what is used here.

    Args:
        x: Points, shape ``(*, d + 1)``, or sparse rows.
        weight: Directions :math:`z`, shape ``(out, d)``.
        offset: Distances :math:`a` of the hyperplanes from the origin, shape ``(out,)``; ``None`` for 0.
        c: Positive curvature parameter, a scalar.

    Returns:
        Shape ``(*, out)``.
    """
    root = c.sqrt()
    direction = F.normalize(weight, dim=-1)
    if offset is None:
        normal = F.pad(direction, (1, 0))
    else:
        a = (root * offset).clamp(-_LARGEST_OFFSET, _LARGEST_OFFSET).unsqueeze(-1)
        normal = torch.cat((-a.sinh(), a.cosh() * direction), dim=-1)
    alpha = at_least_float32(linear(x, normal))
    return weight.norm(dim=-1) / root * (root * alpha).asinh()


def poincare_hyperplanes(x: Tensor | CSRMatrix, weight: Tensor, offset: Tensor | None, c: Tensor) -> Tensor:
    r"""Signed, scaled distances of ball points to hyperplanes.

    With :math:`\lambda_x = 2 / (1 - c\lVert x\rVert^2)` and :math:`\hat z = z / \lVert z\rVert`,

    .. math:: v_k = \frac{2\lVert z_k\rVert}{\sqrt c} \operatorname{asinh}\bigl(
        \lambda_x \langle \sqrt c\,x, \hat z_k\rangle \cosh(2\sqrt c\,r_k) - (\lambda_x - 1)\sinh(2\sqrt c\,r_k)\bigr).

    Source: Shimizu, Mukuta and Harada (2021), *Hyperbolic Neural Networks++*, eq. 6.

    Args:
        x: Points, shape ``(*, d)``, or sparse rows.
        weight: Directions :math:`z`, shape ``(out, d)``.
        offset: Offsets :math:`r`, shape ``(out,)``; ``None`` for 0.
        c: Positive curvature parameter, a scalar.

    Returns:
        Shape ``(*, out)``.
    """
    root = c.sqrt()
    sq = (
        x.row_sums(x.values.square()).unsqueeze(-1)
        if isinstance(x, CSRMatrix)
        else at_least_float32(x).square().sum(dim=-1, keepdim=True)
    )
    # Never zero, as `poincare_math.conformal_gap`: points that were not projected may lie on the border.
    conformal = 2.0 / (1.0 - c * sq).clamp_min(torch.finfo(sq.dtype).eps)
    along = root * conformal * at_least_float32(linear(x, F.normalize(weight, dim=-1)))
    if offset is not None:
        a = (2.0 * root * offset).clamp(-_LARGEST_OFFSET, _LARGEST_OFFSET)
        along = along * a.cosh() - (conformal - 1.0) * a.sinh()
    return 2.0 * weight.norm(dim=-1) / root * along.asinh()


def space_from_distances(v: Tensor, c: Tensor) -> Tensor:
    r"""Space coordinates of the point with signed distances ``v`` to the coordinate hyperplanes.

    .. math:: s_k = \sinh(\sqrt c\,v_k) / \sqrt c

    The hyperbolic sine is kept from overflowing; the manifold's radius cap is left to the caller.

    Args:
        v: Signed distances, shape ``(*, d)``.
        c: Positive curvature parameter, a scalar.

    Returns:
        Shape ``(*, d)``.
    """
    root = c.sqrt()
    return (root * v).clamp(-_LARGEST_DISTANCE, _LARGEST_DISTANCE).sinh() / root
