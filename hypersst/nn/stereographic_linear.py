"""Fully connected layer of the κ-stereographic family, from the sphere through the plane to hyperbolic space."""

from __future__ import annotations

import math
from typing import Any

import geoopt
import torch
from torch import Tensor, nn

from hypersst.manifolds.stable import at_least_float32
from hypersst.manifolds.stereographic import Stereographic
from hypersst.nn.dropout import dropout
from hypersst.nn.origin import log0_linear
from hypersst.nn.shapes import check_channels, check_features, check_probability
from hypersst.nn.sparse import CSRMatrix

__all__ = ["StereographicLinear", "as_stereographic"]


def as_stereographic(manifold: geoopt.Stereographic | None = None) -> Stereographic:
    """Return a `hypersst.manifolds.stereographic.Stereographic`, converting geoopt's family at the border.

    A ball or any other member of geoopt's family becomes one with the same curvature and a parameter of its own,
    learnable if the given one is; layers that shall share a learnable curvature must be given one object of ours.

    Args:
        manifold: Member of geoopt's stereographic family, or ``None`` for curvature -1.

    Returns:
        The same object if it is ours already.

    Raises:
        TypeError: If ``manifold`` is anything else.
    """
    if manifold is None:
        return Stereographic(-1.0)
    if isinstance(manifold, Stereographic):
        return manifold
    if isinstance(manifold, geoopt.Stereographic):
        return Stereographic(manifold.k.detach(), learnable=any(p.requires_grad for p in manifold.parameters()))
    raise TypeError(f"`manifold` must be a geoopt.Stereographic or None, got {type(manifold).__name__}.")


class StereographicLinear(nn.Module):
    r"""κ-matrix product and κ-bias.

    .. math:: y = \exp_0(W \log_0 x) \oplus_\kappa \exp_0(b),

    which is :math:`Wx + b` for κ = 0 and `MobiusLinear` on the ball of c = −κ for κ < 0.

    Source: Bachmann, Bécigneul and Ganea (2020), *Constant Curvature Graph Convolutional Networks* (the
    product from the right); the bias is that of Ganea et al. (2018), *Hyperbolic Neural Networks*.

    Use: where the sign of the curvature shall be learned with the weights.

    Cost: ``out_channels * (in_channels + 1)`` parameters; ``N * out_channels * in_channels`` multiply-adds.

    Args:
        in_channels: Dimensions of the input.
        out_channels: Dimensions of the output.
        bias: Learn the Euclidean vector :math:`b`.
        manifold: Where the points lie; curvature -1 if left out.
        dropout: Probability with which entries of the weight are zeroed in training.

    Shapes:
        - input: ``(*, in_channels)``, or a `CSRMatrix` of that many columns;
        - output: ``(*, out_channels)``.

    Raises:
        ValueError: If a size is not positive or ``dropout`` is no probability.

    Example:
        >>> layer = StereographicLinear(16, 32, manifold=Stereographic(0.0, learnable=True))
        >>> layer(torch.zeros(5, 16)).shape
        torch.Size([5, 32])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        manifold: geoopt.Stereographic | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        check_probability(dropout=dropout)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.manifold = as_stereographic(manifold)
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @property
    def ambient_channels(self) -> tuple[int, int]:
        """Numbers of coordinates that go in and come out."""
        return self.in_channels, self.out_channels

    def reset_parameters(self) -> None:
        """Draw the weight anew (Glorot, gain √2, as `MobiusLinear`) and set the bias to zero."""
        nn.init.xavier_uniform_(self.weight, gain=math.sqrt(2.0))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor | CSRMatrix) -> Tensor:
        """Map points ``x``, shape ``(*, in_channels)``, to points of shape ``(*, out_channels)``."""
        check_features(x, self.in_channels, "in_channels")
        manifold: Any = self.manifold  # has the verbs of the ball that `log0_linear` asks for
        weight = dropout(self.weight, self.dropout, self.training)
        y = manifold.expmap0(at_least_float32(log0_linear(x, weight, manifold)))
        return y if self.bias is None else manifold.mobius_add(y, manifold.expmap0(self.bias))

    def extra_repr(self) -> str:
        """Sizes and options that differ from their defaults."""
        parts = [f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}"]
        if self.dropout:
            parts.append(f"dropout={self.dropout}")
        return ", ".join(parts)
