"""The isometries between the hyperboloid and the Poincaré ball of the same curvature."""

import torch
from torch import Tensor

from hypersst.manifolds.lorentz_math import space_part, time_part
from hypersst.manifolds.stable import at_least_float32, dot


def lorentz_to_poincare(x: Tensor, c: Tensor | float, *, dim: int = -1) -> Tensor:
    r"""Project the hyperboloid onto the ball, :math:`x_s / (1 + \sqrt c\,x_0)`.

    An isometry, unlike ``expmap0`` of the ball after ``logmap0`` of the hyperboloid, which doubles distances from
    the origin.

    Args:
        x: Points with :math:`\langle x, x\rangle = -1/c`, shape ``(*, d + 1)``.
        c: Positive curvature parameter of both spaces.
        dim: Axis of the coordinates.

    Returns:
        Points of norm below :math:`1/\sqrt c`, shape ``(*, d)``.

    Example:
        >>> lorentz_to_poincare(torch.tensor([1.25, 0.75]), 1.0)
        tensor([0.3333])
    """
    x = at_least_float32(x)
    return space_part(x, dim=dim) / (1 + c**0.5 * time_part(x, dim=dim))


def poincare_to_lorentz(y: Tensor, c: Tensor | float, *, dim: int = -1) -> Tensor:
    r"""Lift the ball onto the hyperboloid.

    The image is :math:`\bigl((1 + c\lVert y\rVert^2)/\sqrt c,\; 2y\bigr) / (1 - c\lVert y\rVert^2)`.

    Args:
        y: Points of norm below :math:`1/\sqrt c`, shape ``(*, d)``.
        c: Positive curvature parameter of both spaces.
        dim: Axis of the coordinates.

    Returns:
        Points with :math:`\langle x, x\rangle = -1/c`, shape ``(*, d + 1)``.

    Example:
        >>> poincare_to_lorentz(torch.tensor([1 / 3]), 1.0)
        tensor([1.2500, 0.7500])
    """
    y = at_least_float32(y)
    square = c * dot(y, y, dim=dim)
    gap = (1 - square).clamp_min(torch.finfo(y.dtype).eps)
    return torch.cat(((2 - gap) / (c**0.5 * gap), 2 / gap * y), dim=dim)
