"""Graph convolution of H2H-GCN: a learned isometry, then the Einstein midpoint of the neighbours."""

from __future__ import annotations

from typing import Any

import geoopt
from torch import Tensor

from hypersst.nn.activation import Activation, resolve_activation
from hypersst.nn.ball_activation import ball_activation
from hypersst.nn.centroid_sums import CentroidSums
from hypersst.nn.graph_conv import MeanConv, pair
from hypersst.nn.lorentz_orthogonal import LorentzOrthogonal
from hypersst.nn.manifold_argument import as_lorentz

__all__ = ["H2HConv"]


class H2HConv(CentroidSums, MeanConv):
    r"""Einstein midpoint of orthogonally transformed neighbours, without any tangent space.

    With :math:`h_j = \operatorname{diag}(1, Q)\,x_j`, its Klein coordinates :math:`k_j = h_{j,s}/h_{j,0}` and Lorentz
    factors :math:`\gamma_j = \sqrt c\,h_{j,0}`,

    .. math:: m_i = \frac{\sum_j \hat A_{ij}\gamma_j k_j}{\sum_j \hat A_{ij}\gamma_j}, \qquad
        y_i = \sigma_{\mathrm{ball}}(m_i \text{ as a Lorentz point}).

    The midpoint is the Lorentz centroid in other coordinates: :math:`\gamma_j k_j \propto h_{j,s}`, so :math:`m_i` is
    space over time of :math:`\sum_j \hat A_{ij} h_j`. So it is computed, without a division by the Klein disc's
    border.

    Source: Dai, Wu, Gao and Jia (2021), *A Hyperbolic-to-Hyperbolic Graph Convolutional Network*. The
    weight needs a Riemannian optimizer and keeps the number of dimensions or raises it, see `LorentzOrthogonal`.

    Use: to rebuild H2H-GCN, whose transformations keep distances and never leave the manifold.

    Cost: ``out_channels * in_channels`` parameters; ``N * out_channels * (in_channels + 1)`` multiply-adds;
    ``(E + N) * (out_channels + 1)`` over edges; a boost learns ``out_channels`` numbers more.

    Args:
        in_channels: Intrinsic dimensions of the input; a pair for sources and targets, see `MeanConv`. -1 is not
            taken: orthogonality fixes the shape from the start.
        out_channels: Intrinsic dimensions of the output, at least ``in_channels``.
        boost: Learn a boost of the Lorentz transformation too.
        manifold: Where the points lie; curvature -1 if left out.
        activation: Function or name for :math:`\sigma`, applied to Poincaré coordinates.
        add_self_loops: Add the identity; as ``normalize`` if left out.
        normalize: Divide by the sum of each node's weights.
        cached: Keep the normalised graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.

    Shapes:
        - input: as for `LorentzConv`;
        - output: node points ``(N, out_channels + 1)``.

    Raises:
        ValueError: If ``out_channels`` is below ``in_channels``.

    Example:
        >>> import torch
        >>> conv = H2HConv(16, 16)
        >>> conv
        H2HConv(16, 16)
        >>> conv(conv.manifold.from_space(torch.randn(3, 16)), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 17])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        boost: bool = False,
        *,
        manifold: geoopt.Lorentz | None = None,
        activation: str | Activation | None = None,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        cached: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            add_self_loops=add_self_loops,
            normalize=normalize,
            cached=cached,
            **kwargs,
        )
        manifold = as_lorentz(manifold)
        source, target = pair(in_channels)
        self.lin = LorentzOrthogonal(source, out_channels, boost, manifold=manifold)
        if target is not None:
            self.lin_dst = LorentzOrthogonal(target, out_channels, boost, manifold=manifold)
        self.manifold = manifold
        self.activation = resolve_activation(activation)

    def _finish(self, total: Tensor) -> Tensor:
        return ball_activation(total, self.activation, self.manifold)
