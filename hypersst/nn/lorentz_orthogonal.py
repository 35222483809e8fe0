"""Orthogonal maps of the Lorentz manifold: rotations, and boosts that move the origin."""

from __future__ import annotations

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.manifolds import Lorentz
from hypersst.manifolds.stable import at_least_float32
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.manifold_module import ManifoldModule, manifold_parameter
from hypersst.nn.shapes import check_channels, check_features
from hypersst.nn.sparse import CSRMatrix, linear

__all__ = ["LorentzOrthogonal", "boost"]


def boost(x: Tensor, v: Tensor, manifold: Lorentz) -> Tensor:
    r"""Translate points along the geodesic through the origin that leaves it with velocity ``v``.

    With :math:`b = \exp_0(v) = (b_0, b_s)`, the point that the origin goes to,

    .. math:: y_s = x_s + \Bigl(\sqrt c\,x_0 + \frac{c\,\langle b_s, x_s\rangle}{1 + \sqrt c\,b_0}\Bigr) b_s,

    the pure boost of special relativity; time is recomputed. An isometry, and for ``-v`` its inverse.

    Args:
        x: Points, shape ``(*, d + 1)``.
        v: Velocity in intrinsic coordinates, shape ``(d,)``; its length is how far the origin moves.
        manifold: Where the points lie.

    Returns:
        Points, shape ``(*, d + 1)``.
    """
    c = manifold.c
    b = manifold.expmap0_space(v)
    time, space = x[..., :1], x[..., 1:]
    along = (space * b[1:]).sum(dim=-1, keepdim=True)
    return manifold.from_space(space + (c.sqrt() * time + c * along / (1.0 + c.sqrt() * b[0])) * b[1:])


class LorentzOrthogonal(ManifoldModule):
    r"""Rotate the space part by a matrix with orthonormal columns: an isometry that learns.

    .. math:: y = \begin{pmatrix} 1 & 0 \\ 0 & Q \end{pmatrix} x, \qquad Q^\top Q = 1,

    followed, if asked for, by a boost (`boost`): a rotation and a boost together are every isometry that keeps the
    orientation of time. The weight :math:`Q` is a `geoopt.ManifoldParameter` on `geoopt.EuclideanStiefel`, so a
    Riemannian optimizer is needed to keep it orthogonal; `hypersst.spectralize` leaves it alone.

    Source: Dai, Wu, Gao and Jia (2021), *A Hyperbolic-to-Hyperbolic Graph Convolutional Network*, where Q is
    square. Departures: more rows than columns are allowed (an isometric embedding into a larger space); the boost is
    ours.

    Use: to turn and move points without changing their distances, as H2H-GCN does before it aggregates.

    Cost: ``out_channels * in_channels`` parameters; ``N * out_channels * (in_channels + 1)`` multiply-adds; a boost
    learns ``out_channels`` numbers more.

    Args:
        in_channels: Intrinsic dimensions of the input.
        out_channels: Intrinsic dimensions of the output, at least ``in_channels``.
        boost: Learn a boost too, the identity at first.
        manifold: Where the points lie; curvature -1 if left out.

    Shapes:
        - input: ``(*, in_channels + 1)``, or a `CSRMatrix` of that many columns;
        - output: ``(*, out_channels + 1)``.

    Raises:
        ValueError: If a size is not positive, or ``out_channels`` is below ``in_channels``.

    Example:
        >>> layer = LorentzOrthogonal(3, 3)
        >>> x, y = layer.manifold.from_space(torch.randn(2, 5, 3))
        >>> torch.allclose(layer.manifold.dist(layer(x), layer(y)), layer.manifold.dist(x, y), atol=1e-4)
        True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        boost: bool = False,
        *,
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        if out_channels < in_channels:
            raise ValueError(
                f"`out_channels` must be at least in_channels = {in_channels} for orthonormal columns, "
                f"got {out_channels}; use LorentzLinear to reduce dimensions."
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.manifold = as_lorentz(manifold)
        self.weight = manifold_parameter(torch.eye(out_channels, in_channels), geoopt.EuclideanStiefel())
        self.boost = nn.Parameter(torch.empty(out_channels)) if boost else None
        self.reset_parameters()

    @property
    def ambient_channels(self) -> tuple[int, int]:
        """Numbers of coordinates that go in and come out."""
        return self.in_channels + 1, self.out_channels + 1

    def reset_parameters(self) -> None:
        """Draw the rotation uniformly and set the boost to the identity."""
        nn.init.orthogonal_(self.weight)
        if self.boost is not None:
            nn.init.zeros_(self.boost)

    def forward(self, x: Tensor | CSRMatrix) -> Tensor:
        """Map points ``x``, shape ``(*, in_channels + 1)``, to points of shape ``(*, out_channels + 1)``."""
        check_features(x, self.in_channels + 1, "in_channels + 1")
        # The zero column keeps time, dense or stored, out of the product.
        space = at_least_float32(linear(x, F.pad(self.weight, (1, 0))))
        y = self.manifold.from_space(space)
        return y if self.boost is None else boost(y, self.boost, self.manifold)

    def extra_repr(self) -> str:
        """Sizes and whether there is a boost."""
        return f"{self.in_channels}, {self.out_channels}" + (", boost=True" if self.boost is not None else "")
