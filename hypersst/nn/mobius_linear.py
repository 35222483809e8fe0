"""Linear map in the tangent space at the origin."""

from __future__ import annotations

import math

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.manifolds import Lorentz
from hypersst.manifolds.stable import at_least_float32
from hypersst.nn.dropout import dropout
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.origin import exp0, log0_linear
from hypersst.nn.shapes import check_channels, check_features, check_probability
from hypersst.nn.sparse import CSRMatrix

__all__ = ["MobiusLinear"]


class MobiusLinear(nn.Module):
    r"""Möbius matrix product and Möbius bias, on the Poincaré ball or on the Lorentz manifold.

    .. math:: m = \exp_0(W \log_0 x), \qquad y = \exp_m\bigl(P_{0 \to m}\,b\bigr),

    which on the ball is :math:`m \oplus_c \exp_0(b)`. The weight acts on the intrinsic tangent coordinates.

    Source: Ganea, Bécigneul and Hofmann (2018), *Hyperbolic Neural Networks*; Chami et al. (2019),
    *Hyperbolic Graph Convolutional Neural Networks*, eqs. 6–7, whose dropout is on the weight's entries.

    Use: to rebuild HGCN and other networks that compute in the tangent space at the origin.

    Cost: ``out_channels * (in_channels + 1)`` parameters; ``N * out_channels * in_channels`` multiply-adds.

    Args:
        in_channels: Intrinsic dimensions of the input.
        out_channels: Intrinsic dimensions of the output.
        bias: Learn the Euclidean vector :math:`b`.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        dropout: Probability with which entries of the weight are zeroed in training.

    Shapes:
        - input: ``(*, in_channels)`` on the ball, ``(*, in_channels + 1)`` on the Lorentz manifold, or a `CSRMatrix`
          of that many columns;
        - output: the same with ``out_channels``.

    Raises:
        ValueError: If a size is not positive or ``dropout`` is no probability.

    Example:
        >>> MobiusLinear(16, 32)(torch.zeros(5, 16)).shape
        torch.Size([5, 32])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        check_probability(dropout=dropout)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.manifold = as_hyperbolic(manifold)
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    @property
    def ambient_channels(self) -> tuple[int, int]:
        """Numbers of coordinates that go in and come out."""
        extra = int(isinstance(self.manifold, Lorentz))
        return self.in_channels + extra, self.out_channels + extra

    def reset_parameters(self) -> None:
        """Draw the weight anew (Glorot, gain √2, as HGCN does) and set the bias to zero."""
        nn.init.xavier_uniform_(self.weight, gain=math.sqrt(2.0))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor | CSRMatrix) -> Tensor:
        """Map points ``x``, shape ``(*, ambient in)``, to points of shape ``(*, ambient out)``."""
        manifold = self.manifold
        rule = "in_channels + 1" if isinstance(manifold, Lorentz) else "in_channels"
        check_features(x, self.ambient_channels[0], rule)
        weight = dropout(self.weight, self.dropout, self.training)
        m = exp0(at_least_float32(log0_linear(x, weight, manifold)), manifold)
        if self.bias is None:
            return m
        if isinstance(manifold, Lorentz):
            tangent = F.pad(self.bias, (1, 0)).expand_as(m)
            return manifold.expmap(m, manifold.transp0(m, tangent))
        # The same point: on the ball transport and exponential map together are one Möbius addition.
        return manifold.mobius_add(m, manifold.expmap0(self.bias))

    def extra_repr(self) -> str:
        """Sizes and options that differ from their defaults."""
        parts = [f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}"]
        if self.dropout:
            parts.append(f"dropout={self.dropout}")
        return ", ".join(parts)
