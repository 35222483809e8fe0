"""Residual connections: the sum of two points."""

from __future__ import annotations

import math

import geoopt
import torch
from torch import Tensor, nn

from hypersst.errors import unknown
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.manifolds.stable import at_least_float32, dot
from hypersst.nn.chart import from_chart
from hypersst.nn.manifold_argument import as_hyperbolic

__all__ = ["HyperbolicResidual", "centroid_of_two", "translated"]

_FORMS = ("centroid", "translation")


class HyperbolicResidual(nn.Module):
    r"""Add to a point another one with a weight w.

    - ``"centroid"`` (LResNet): the Lorentz centroid of x and y with weights 1 and w,

      .. math:: \frac{x + w y}{\sqrt c\,\sqrt{-\langle x + wy,\, x + wy\rangle}}

      and on the ball the gyromidpoint with these weights, the same point. It lies between x and y, isometries pass
      through, and no logarithm is taken (`centroid_of_two`).
    - ``"translation"`` (HNN, HGCN): :math:`\exp_x\bigl(P_{0\to x}\,w\log_0 y\bigr)`, on the ball
      :math:`x \oplus (w \otimes y)`. The origin as y changes nothing, and lengths add up along a ray (`translated`).

    Sources: He et al. (2025), *Lorentzian Residual Neural Networks*; Ganea, Bécigneul and Hofmann (2018),
    *Hyperbolic Neural Networks*. Departure: a learned w is :math:`e^{\texttt{log\_weight}}`, so that it stays positive
    and the sum time-like; in LResNet it is free.

    Use: around a block, ``"centroid"`` in Lorentz networks, ``"translation"`` where the block's output is a step.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes, and one number more if ``learnable``.

    Args:
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        form: ``"centroid"`` or ``"translation"``.
        weight: w, or its first value; not negative in ``"centroid"``, positive if learned.
        learnable: Learn w.

    Shapes:
        - inputs: twice ``(*, d)`` on the ball, ``(*, d + 1)`` on the Lorentz manifold;
        - output: the same.

    Raises:
        ValueError: If ``form`` is unknown or ``weight`` is outside its range.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> layer = HyperbolicResidual(manifold=Lorentz())
        >>> x, y = layer.manifold.from_space(torch.tensor([[0.75, 0.0], [-0.75, 0.0]]))
        >>> layer(x, y)
        tensor([1., 0., 0.])
    """

    def __init__(
        self,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        form: str = "centroid",
        weight: float = 1.0,
        learnable: bool = False,
    ) -> None:
        super().__init__()
        if form not in _FORMS:
            raise unknown("form", form, _FORMS)
        if not math.isfinite(weight) or (form == "centroid" and weight < 0.0) or (learnable and weight <= 0.0):
            rule = "positive to be learned" if learnable else "finite, and not negative in a centroid"
            raise ValueError(f"`weight` must be {rule}, got {weight}.")
        self.manifold = as_hyperbolic(manifold)
        self.form = form
        self._first_weight = weight
        self.log_weight = nn.Parameter(torch.empty(())) if learnable else None
        self.reset_parameters()

    @property
    def weight(self) -> Tensor | float:
        """The weight w of the second point."""
        return self._first_weight if self.log_weight is None else at_least_float32(self.log_weight).exp()

    def reset_parameters(self) -> None:
        """Set a learned weight to its first value."""
        if self.log_weight is not None:
            nn.init.constant_(self.log_weight, math.log(self._first_weight))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Add ``y`` to ``x``, points of shape ``(*, ambient)``."""
        add = centroid_of_two if self.form == "centroid" else translated
        return add(x, y, self.weight, self.manifold)

    def extra_repr(self) -> str:
        """Form and weight."""
        return f"form={self.form!r}, weight={self._first_weight:g}, learnable={self.log_weight is not None}"


def centroid_of_two(x: Tensor, y: Tensor, weight: Tensor | float, manifold: Lorentz | PoincareBall) -> Tensor:
    r"""Lorentz centroid, or gyromidpoint, of two points with weights 1 and w.

    With the squared Lorentzian distance q the sum :math:`s = x + wy` has

    .. math:: -c\,\langle s, s\rangle = (1 + w)^2 + c\,w\,q,

    a sum of positive terms, where a rounded s has lost cosh²(radius) digits. So float32 suffices, unlike for the
    centroid of many points. On the ball the same is done with the space parts of the isometric images.

    Args:
        x: Points, shape ``(*, ambient)``.
        y: Points, the same shape.
        weight: The weight w of y, not negative.
        manifold: Where the points lie.

    Returns:
        Points, the same shape.
    """
    x, y = at_least_float32(x), at_least_float32(y)
    if isinstance(manifold, Lorentz):
        q = manifold.sqdist(x, y, keepdim=True)
        total = x[..., 1:] + weight * y[..., 1:]
    else:
        # λx is the space part of the isometric image, and the chord follows from the distance in the ball.
        scale_x, scale_y = manifold.lambda_x(x, keepdim=True), manifold.lambda_x(y, keepdim=True)
        q = scale_x * scale_y * dot(x - y, x - y)
        total = scale_x * x + weight * scale_y * y
    norm = ((1.0 + weight) ** 2 + manifold.c * weight * q).sqrt()
    return from_chart(total / norm, manifold, "space")


def translated(x: Tensor, y: Tensor, weight: Tensor | float, manifold: Lorentz | PoincareBall) -> Tensor:
    r"""Go from x along :math:`w \log_0 y`, carried to x: :math:`\exp_x(P_{0 \to x}\,w\log_0 y)`.

    On the ball that is the Möbius sum :math:`x \oplus (w \otimes y)`.

    Args:
        x: Points, shape ``(*, ambient)``.
        y: Points, the same shape.
        weight: The weight w of y.
        manifold: Where the points lie.

    Returns:
        Points, the same shape.
    """
    return manifold.expmap(x, manifold.transp0(x, weight * manifold.logmap0(y)))
