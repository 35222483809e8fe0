r"""Charts: coordinates in which an elementwise or linear Euclidean operation is done on points.

All three cover the whole manifold with ``d`` numbers a point, have the origin at zero and keep directions from it;
they differ in what becomes of the distance :math:`\rho` from the origin, in units of :math:`1/\sqrt c`:

=============  ==================================  =============================================================
name           length of the coordinates           where it comes from
=============  ==================================  =============================================================
``"tangent"``  :math:`\rho`; on the ball           logarithm at the origin (HNN, HGCN); the ball's exponential
               :math:`\rho/2`                      map doubles lengths, as in geoopt
``"space"``    :math:`\sinh\rho`                   space part of the Lorentz point (Hypformer's HRC)
``"ball"``     :math:`\tanh(\rho/2)`               the Poincaré ball (HGNN)
=============  ==================================  =============================================================

A point of either model has the same coordinates as its isometric image in ``"space"`` and in ``"ball"``. In
``"tangent"`` it has half of them on the ball, which an operation that commutes with scaling (ReLU, dropout,
normalisation) does not notice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.errors import unknown
from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare, poincare_to_lorentz
from hypersst.manifolds.stable import at_least_float32, bounded, dot
from hypersst.nn.origin import exp0, log0
from hypersst.nn.shapes import check_features

__all__ = ["check_chart", "check_intrinsic", "from_chart", "to_chart"]

_CHARTS = ("tangent", "space", "ball")


def to_chart(x: Tensor, manifold: Lorentz | PoincareBall, chart: str) -> Tensor:
    """Coordinates of points.

    Args:
        x: Points, shape ``(*, d + 1)`` on the Lorentz manifold and ``(*, d)`` on the ball.
        manifold: Where they lie.
        chart: ``"tangent"``, ``"space"`` or ``"ball"``, see the head of this file.

    Returns:
        Shape ``(*, d)``; half precision has become float32.

    Raises:
        ValueError: If there is no such chart.

    Example:
        >>> to_chart(torch.tensor([1.25, 0.75]), Lorentz(), "ball")
        tensor([0.3333])
    """
    check_chart(chart)
    if chart == "tangent":
        return log0(x, manifold)
    if isinstance(manifold, Lorentz):
        return at_least_float32(x)[..., 1:] if chart == "space" else lorentz_to_poincare(x, manifold.c)
    return poincare_to_lorentz(x, manifold.c)[..., 1:] if chart == "space" else at_least_float32(x)


def from_chart(v: Tensor, manifold: Lorentz | PoincareBall, chart: str) -> Tensor:
    """Points with the given coordinates, at most the manifold's largest radius away; inverse of `to_chart`.

    Args:
        v: Any numbers, shape ``(*, d)``; in ``"ball"`` they may leave the ball.
        manifold: Where the points shall lie.
        chart: As for `to_chart`.

    Returns:
        Shape ``(*, d + 1)`` on the Lorentz manifold and ``(*, d)`` on the ball.

    Raises:
        ValueError: If there is no such chart.

    Example:
        >>> from_chart(torch.tensor([0.75]), Lorentz(), "space")
        tensor([1.2500, 0.7500])
    """
    check_chart(chart)
    v = at_least_float32(v)
    if chart == "space" and isinstance(manifold, Lorentz):
        return manifold.projx(F.pad(v, (1, 0)))  # which bounds v and computes time
    v = bounded(v)
    if chart == "tangent":
        return exp0(v, manifold)
    if isinstance(manifold, Lorentz):
        return manifold.projx(poincare_to_lorentz(v, manifold.c))
    if chart == "space":
        v = v / (1.0 + torch.sqrt(1.0 + manifold.c * dot(v, v)))
    return manifold.projx(v)


def check_chart(chart: str) -> None:
    """Refuse a name that is no chart.

    Raises:
        ValueError: Naming the charts and the value.
    """
    if chart not in _CHARTS:
        raise unknown("chart", chart, _CHARTS)


def check_intrinsic(x: Tensor, channels: int, manifold: Lorentz | PoincareBall, name: str) -> None:
    """Refuse points that have not ``channels`` intrinsic dimensions; ``name`` is the argument that says so.

    Raises:
        ValueError: Naming the rule and the shape.
    """
    lorentz = isinstance(manifold, Lorentz)
    check_features(x, channels + lorentz, f"{name} + 1" if lorentz else name)
