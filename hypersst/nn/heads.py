"""From points to class scores."""

from __future__ import annotations

import math

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.manifolds import Lorentz
from hypersst.manifolds.stable import at_least_float32
from hypersst.nn.hyperplane import lorentz_hyperplanes, poincare_hyperplanes
from hypersst.nn.manifold_argument import as_ball, as_hyperbolic, as_lorentz
from hypersst.nn.manifold_module import ManifoldModule, manifold_parameter
from hypersst.nn.origin import log0
from hypersst.nn.shapes import check_channels, check_features

__all__ = ["LorentzMLR", "PoincareMLR", "PrototypeHead", "TangentHead"]


class PrototypeHead(ManifoldModule):
    r"""Score a class by the squared Lorentzian distance to its prototype.

    .. math:: \ell_k = b_k - d_L^2(x, p_k) = b_k + \tfrac{2}{c} + 2\langle x, p_k\rangle

    The prototypes are the only manifold parameters of HyboNet: Riemannian optimizers move them along the manifold.
    The distances to all prototypes are one matrix product, in float64 because it cancels far out.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, as in the authors' code.

    Use: to classify Lorentz points as HyboNet does, with a Riemannian optimizer for the prototypes.

    Cost: ``out_channels * (in_channels + 2)`` parameters; ``N * out_channels * (in_channels + 1)`` multiply-adds.

    Args:
        in_channels: Intrinsic dimensions of the points.
        out_channels: Number of classes.
        bias: Learn :math:`b`.
        manifold: Where points and prototypes lie; curvature -1 if left out.

    Shapes:
        - input: ``(*, in_channels + 1)``;
        - output: ``(*, out_channels)``.

    Example:
        >>> head = PrototypeHead(16, 7)
        >>> head(head.manifold.from_space(torch.zeros(5, 16))).shape
        torch.Size([5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.manifold = as_lorentz(manifold)
        self.prototypes = manifold_parameter(self._draw(), self.manifold)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def _draw(self) -> Tensor:
        # About one unit of length from the origin, whatever the dimension, as HyboNet's prototypes lie.
        v = torch.randn(self.out_channels, self.in_channels) / math.sqrt(self.in_channels)
        with torch.no_grad():
            return self.manifold.expmap0_space(v)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the prototypes anew and set the bias to zero."""
        self.prototypes.copy_(self._draw())
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Score points ``x``, shape ``(*, in_channels + 1)``, for each class, shape ``(*, out_channels)``."""
        check_features(x, self.in_channels + 1, "in_channels + 1")
        x, c = at_least_float32(x), self.manifold.c
        # In float64, times computed anew: of points near each other at radius 7 the difference of time and space
        # products would be off by 2 % in float32, and is by 1e-7.
        points, prototypes = (self.manifold.from_space(p[..., 1:].double()) for p in (x, self.prototypes))
        mirrored = torch.cat((-prototypes[:, :1], prototypes[:, 1:]), dim=-1)
        scores = (2.0 * F.linear(points, mirrored) + 2.0 / c.double()).to(x.dtype)
        return scores if self.bias is None else scores + self.bias

    def extra_repr(self) -> str:
        """Sizes and whether there is a bias."""
        return f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}"


class _HyperplaneHead(nn.Module):
    """Directions and offsets of hyperplanes, drawn as in HNN++."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool, std: float) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self._std = std
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the directions anew and set the offsets to zero."""
        nn.init.normal_(self.weight, std=self._std)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """Sizes and whether there are offsets."""
        return f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}"


class LorentzMLR(_HyperplaneHead):
    """Score a class by the signed distance to its hyperplane, on the Lorentz manifold.

    Formula and source: `hypersst.nn.hyperplane.lorentz_hyperplanes`.

    Use: to classify Lorentz points by hyperplanes, with Euclidean parameters that any optimizer trains.

    Cost: ``out_channels * (in_channels + 1)`` parameters; ``N * out_channels * (in_channels + 1)`` multiply-adds.

    Args:
        in_channels: Intrinsic dimensions of the points.
        out_channels: Number of classes.
        bias: Learn the offsets of the hyperplanes.
        manifold: Where the points lie; curvature -1 if left out.

    Shapes:
        - input: ``(*, in_channels + 1)``;
        - output: ``(*, out_channels)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, bias, std=in_channels**-0.5)
        self.manifold = as_lorentz(manifold)

    def forward(self, x: Tensor) -> Tensor:
        """Score points ``x``, shape ``(*, in_channels + 1)``, for each class, shape ``(*, out_channels)``."""
        check_features(x, self.in_channels + 1, "in_channels + 1")
        return lorentz_hyperplanes(x, self.weight, self.bias, self.manifold.c)


class PoincareMLR(_HyperplaneHead):
    """Score a class by the signed distance to its hyperplane, on the Poincaré ball.

    Formula and source: `hypersst.nn.hyperplane.poincare_hyperplanes`.

    Use: to classify ball points by hyperplanes, with Euclidean parameters that any optimizer trains.

    Cost: ``out_channels * (in_channels + 1)`` parameters; ``N * out_channels * in_channels`` multiply-adds.

    Args:
        in_channels: Dimensions of the points.
        out_channels: Number of classes.
        bias: Learn the offsets of the hyperplanes.
        manifold: Where the points lie; curvature -1 if left out.

    Shapes:
        - input: ``(*, in_channels)``;
        - output: ``(*, out_channels)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        manifold: geoopt.PoincareBall | None = None,
    ) -> None:
        # Half of LorentzMLR's, for the same map.
        super().__init__(in_channels, out_channels, bias, std=0.5 * in_channels**-0.5)
        self.manifold = as_ball(manifold)

    def forward(self, x: Tensor) -> Tensor:
        """Score points ``x``, shape ``(*, in_channels)``, for each class, shape ``(*, out_channels)``."""
        check_features(x, self.in_channels, "in_channels")
        return poincare_hyperplanes(x, self.weight, self.bias, self.manifold.c)


class TangentHead(nn.Module):
    r"""Score classes linearly in the tangent space at the origin: :math:`W \log_0 x + b`.

    Source: Chami et al. (2019), *Hyperbolic Graph Convolutional Neural Networks*, the node classification decoder.

    Use: to classify points of either model as HGCN does, or to hand them to Euclidean layers.

    Cost: ``out_channels * (in_channels + 1)`` parameters; ``N * out_channels * in_channels`` multiply-adds.

    Args:
        in_channels: Intrinsic dimensions of the points.
        out_channels: Number of classes.
        bias: Learn :math:`b`.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.

    Shapes:
        - input: ``(*, in_channels)`` on the ball, ``(*, in_channels + 1)`` on the Lorentz manifold;
        - output: ``(*, out_channels)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.manifold = as_hyperbolic(manifold)
        self.linear = nn.Linear(in_channels, out_channels, bias)

    def reset_parameters(self) -> None:
        """Draw the linear map anew."""
        self.linear.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Score points ``x``, shape ``(*, ambient in)``, for each class, shape ``(*, out_channels)``."""
        lorentz = isinstance(self.manifold, Lorentz)
        check_features(x, self.in_channels + lorentz, "in_channels + 1" if lorentz else "in_channels")
        return self.linear(log0(x, self.manifold))
