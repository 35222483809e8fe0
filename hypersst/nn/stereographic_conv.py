"""Graph convolution of κ-GCN: gyromidpoints in a space of any constant curvature."""

from __future__ import annotations

from typing import Any

import geoopt
import torch
from torch import Tensor

from hypersst.manifolds.stereographic_math import from_sphere, to_sphere
from hypersst.nn.activation import Activation, resolve_activation
from hypersst.nn.graph_conv import MeanConv
from hypersst.nn.stereographic_linear import StereographicLinear, as_stereographic

__all__ = ["StereographicConv"]


class StereographicConv(MeanConv):
    r"""Gyromidpoint of κ-linearly transformed neighbours, scaled by the sum of their weights.

    With :math:`h_j = \operatorname{StereographicLinear}(x_j)`, :math:`\lambda_j = 2/(1 + \kappa\lVert h_j\rVert^2)`,

    .. math::
        m_i = \tfrac12 \otimes_\kappa \frac{\sum_j \hat A_{ij}\lambda_j h_j}{\sum_j \hat A_{ij}(\lambda_j - 1)}, \qquad
        y_i = \exp_0^{\kappa'}\Bigl(\sigma\bigl(\log_0^{\kappa}\bigl(
        (\textstyle\sum_j \hat A_{ij}) \otimes_\kappa m_i\bigr)\bigr)\Bigr).

    For κ = 0 this is a graph convolution of Kipf and Welling with mean aggregation.

    Source: Bachmann, Bécigneul and Ganea (2020), *Constant Curvature Graph Convolutional Networks*. The
    midpoint is computed from the sum of homogeneous coordinates (`stereographic_math.from_sphere`), which is the same
    point and knows no case for the sign of κ.

    Use: to rebuild κ-GCN: where the sign of the curvature shall be learned with the weights.

    Cost: ``out_channels * (in_channels + 1)`` parameters; ``N * out_channels * in_channels`` multiply-adds;
    ``(E + N) * (out_channels + 2)`` over edges.

    Args:
        in_channels: Dimensions of the input; -1 to read them off the first one; a pair for sources and targets,
            see `MeanConv`.
        out_channels: Dimensions of the output.
        bias: Learn a κ-bias, which the paper has not.
        manifold: Where the points lie; curvature -1 if left out.
        out_manifold: Where the results lie; ``manifold`` if left out.
        activation: Function or name for :math:`\sigma`, ``None`` for the identity.
        dropout: Probability of dropping entries of the weight in training.
        add_self_loops: Add the identity; as ``normalize`` if left out.
        normalize: Divide by the sum of each node's weights, so that the scaling is by one.
        cached: Keep the normalised graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.

    Shapes:
        - input: node points ``(N, in_channels)`` or a `CSRMatrix` of that shape, or a pair for sources and targets;
          the graph as for `LorentzConv`;
        - output: node points ``(N, out_channels)``.

    Example:
        >>> from hypersst.manifolds.stereographic import Stereographic
        >>> conv = StereographicConv(16, 32, manifold=Stereographic(0.0, learnable=True))
        >>> conv
        StereographicConv(16, 32)
        >>> conv(torch.zeros(3, 16), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 32])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        bias: bool = True,
        *,
        manifold: geoopt.Stereographic | None = None,
        out_manifold: geoopt.Stereographic | None = None,
        activation: str | Activation | None = None,
        dropout: float = 0.0,
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
        manifold = as_stereographic(manifold)
        self._add_linear(StereographicLinear, out_channels, bias, manifold=manifold, dropout=dropout)
        self.manifold = manifold
        self.out_manifold = manifold if out_manifold is None else as_stereographic(out_manifold)
        self.activation = resolve_activation(activation)

    def _widen(self, h: Tensor) -> Tensor:
        # In float64, for the reason that `CentroidSums` gives.
        s = to_sphere(h.double(), self.manifold.kappa)
        # One more column, so that the sum of the weights comes out beside the sum of the points.
        return torch.cat((s, torch.ones_like(s[..., :1])), dim=-1)

    def _centre(self, total: Tensor, dtype: torch.dtype) -> Tensor:
        tangent = self.manifold.logmap0(from_sphere(total[..., :-1], self.manifold.kappa))
        return (total[..., -1:] * tangent).to(dtype)

    def _finish(self, total: Tensor) -> Tensor:
        return self.out_manifold.expmap0(total if self.activation is None else self.activation(total))
