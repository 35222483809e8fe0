"""κ-GCN: one network for spheres, Euclidean and hyperbolic space, the curvature being learned."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch_geometric.nn.conv import MessagePassing

from hypersst.manifolds.stereographic import Stereographic
from hypersst.models.hyperbolic_gnn import HyperbolicGNN
from hypersst.nn import CSRMatrix, StereographicConv, fermi_dirac_logit
from hypersst.nn.origin import lift_rows

__all__ = ["KappaGCN"]


class KappaGCN(HyperbolicGNN):
    r"""Lift, κ-stereographic convolutions, linear head in the tangent space or Fermi–Dirac scores, cross-entropy.

    Source: Bachmann, Bécigneul and Ganea (2020), *Constant Curvature Graph Convolutional Networks*. Departure: the head
    is linear in the tangent space, as in the other networks here, and not a κ-hyperplane regression.

    Args:
        *args: As for `HyperbolicGNN`.
        k: Sectional curvature κ of any sign, the first value if it is learned; -c if left out.
        **kwargs: As for `HyperbolicGNN`; with ``learnable_c`` κ goes through zero freely.

    Example:
        >>> import torch
        >>> model = KappaGCN(5, 8, num_layers=2, out_channels=3, k=0.0, learnable_c=True)
        >>> model(torch.randn(4, 5), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([4, 3])
    """

    def __init__(self, *args: Any, k: float | None = None, **kwargs: Any) -> None:
        self._k = k
        super().__init__(*args, **kwargs)

    def init_conv(self, in_channels: int, out_channels: int, **kwargs: Any) -> MessagePassing:
        """Build a layer."""
        return StereographicConv(in_channels, out_channels, **kwargs)

    def _space(self, c: float, learnable: bool) -> nn.Module:
        return Stereographic(-c if self._k is None else self._k, learnable=learnable)

    def _lift(self) -> nn.Module:
        return _Lift(self.manifold)

    def _head(self, width: int, out_channels: int) -> nn.Module:
        return _Head(width, out_channels, self.manifold)

    def _decoder(self, r: float, t: float) -> nn.Module:
        return _Decoder(r, t, self.manifold)


class _Lift(nn.Module):
    def __init__(self, manifold: Stereographic) -> None:
        super().__init__()
        self.manifold: Any = manifold  # has the verbs of the ball that `lift_rows` asks for

    def forward(self, x: Tensor | CSRMatrix) -> Tensor | CSRMatrix:
        return lift_rows(x, self.manifold) if isinstance(x, CSRMatrix) else self.manifold.expmap0(x)


class _Head(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, manifold: Stereographic) -> None:
        super().__init__()
        self.manifold = manifold
        self.linear = nn.Linear(in_channels, out_channels)

    def reset_parameters(self) -> None:
        self.linear.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.manifold.logmap0(x))


class _Decoder(nn.Module):
    def __init__(self, r: float, t: float, manifold: Stereographic) -> None:
        super().__init__()
        if not t > 0.0:
            raise ValueError(f"`t` must be positive, got {t}.")
        self.r, self.t = r, t
        self.manifold = manifold

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return fermi_dirac_logit(self.manifold.dist2(x, y), self.r, self.t)
