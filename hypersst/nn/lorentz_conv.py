"""Graph convolution of HyboNet: Lorentz linear layer, then Lorentz centroid of the neighbours."""

from __future__ import annotations

from typing import Any

import geoopt
from torch import Tensor

from hypersst.nn.activation import Activation
from hypersst.nn.graph_conv import Adjacency, MeanConv, check_adjacency
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.sparse import CSRMatrix

__all__ = ["LorentzConv"]


class LorentzConv(MeanConv):
    r"""Lorentz centroid of linearly transformed neighbours.

    With :math:`h_j = \operatorname{LorentzLinear}(x_j)` and :math:`\hat A = D^{-1}(A + I)`,

    .. math:: s_i = \sum_j \hat A_{ij} h_j, \qquad y_i = \frac{s_i}{\sqrt c\,\sqrt{|\langle s_i, s_i\rangle|}}.

    The centroid does not change when a row of :math:`\hat A` is scaled: ``normalize`` only keeps the sums small.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, section 3.2 (centroid), without attention; it is
    the Lorentz centroid of Law et al. (2019), *Lorentzian Distance Learning for Hyperbolic Representations*.

    Args:
        in_channels: Intrinsic dimensions of the input; its points have ``in_channels + 1`` coordinates.
        out_channels: Intrinsic dimensions of the output.
        bias: Learn a bias in the linear layer.
        time: Form of the linear layer, see `LorentzLinear`.
        manifold: Where the points lie; curvature -1 if left out.
        activation: Function or name, applied to the input's ambient vector.
        dropout: Probability of dropping entries of the input in training.
        add_self_loops: Add the identity; as ``normalize`` if left out.
        normalize: Divide by the sum of each node's weights.
        cached: Keep the normalised graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.

    Shapes:
        - input: node points ``(N, in_channels + 1)`` or a `CSRMatrix` of that shape; the graph as edges ``(2, E)``,
          as sparse ``adj_t`` ``(N, N)`` or as a `CSRMatrix` ``(N, N)``, which is taken as it is (already normalised);
          edge weights ``(E,)`` *(optional)*, not negative;
        - output: node points ``(N, out_channels + 1)``.

    Example:
        >>> import torch
        >>> conv = LorentzConv(16, 32)
        >>> conv
        LorentzConv(16, 32)
        >>> x = conv.manifold.from_space(torch.randn(3, 16))
        >>> conv(x, torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 33])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        time: str = "gated",
        manifold: geoopt.Lorentz | None = None,
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
        self.lin = LorentzLinear(
            in_channels,
            out_channels,
            bias,
            time=time,
            manifold=manifold,
            activation=activation,
            dropout=dropout,
        )
        self.manifold = self.lin.manifold

    def reset_parameters(self) -> None:
        """Draw the weight anew and forget the cached graph."""
        super().reset_parameters()
        self.lin.reset_parameters()

    def forward(self, x: Tensor | CSRMatrix, edge_index: Adjacency, edge_weight: Tensor | None = None) -> Tensor:
        """Map node points ``x``, shape ``(N, in_channels + 1)``, to shape ``(N, out_channels + 1)``."""
        check_adjacency(edge_index, edge_weight, x.shape[0])
        h = self.lin(x)
        if isinstance(edge_index, CSRMatrix):
            return self._centroid(edge_index.matmul(h))
        edge_index, edge_weight = self._graph(h, edge_index, edge_weight)
        # propagate_type: (x: Tensor, edge_weight: OptTensor)
        total = self.propagate(edge_index, x=h, edge_weight=edge_weight)
        return self._centroid(total)

    def _centroid(self, total: Tensor) -> Tensor:
        # Time from space again: a sum of far points rounds off the manifold, and an empty one belongs to the origin.
        return self.manifold.from_space(self.manifold.normalize(total)[..., 1:])

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.in_channels}, {self.out_channels})"
