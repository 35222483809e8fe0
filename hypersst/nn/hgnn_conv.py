"""Graph convolution of HGNN: weighted sum of linearly mapped neighbours in the tangent space at the origin."""

from __future__ import annotations

from typing import Any

import geoopt
import torch
from torch import Tensor
from torch_geometric.utils import add_self_loops as with_self_loops
from torch_geometric.utils import scatter

from hypersst.errors import unknown
from hypersst.nn.activation import Activation, resolve_activation
from hypersst.nn.ball_activation import ball_activation
from hypersst.nn.graph_conv import MeanConv, Points, as_edges
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.mobius_linear import MobiusLinear
from hypersst.nn.origin import exp0, log0

__all__ = ["HGNNConv"]

_NORMALIZATIONS = ("row", "sym")


class HGNNConv(MeanConv):
    r"""Sum over neighbours in the tangent space at the origin, activation on the manifold.

    .. math:: y_i = \sigma\Bigl(\exp_0\bigl(\sum_j \hat A_{ij}\, W \log_0 x_j\bigr)\Bigr)

    Unlike `MobiusConv` (HGCN) there is no bias, and :math:`\sigma` acts on the coordinates of the ball, to
    which points of the Lorentz manifold go and come back (`ball_activation`).

    Source: Liu, Nickel and Kiela (2019), *Hyperbolic Graph Neural Networks*. There
    :math:`\hat A = D^{-1/2}(A + I)D^{-1/2}`, which is ``normalization="sym"``; the default is the mean
    :math:`D^{-1}(A + I)`, which mini-batches and bipartite graphs have too.

    Use: to rebuild HGNN, or where the mean in the tangent space shall come without a bias.

    Cost: ``out_channels * in_channels`` parameters; ``N * out_channels * in_channels`` multiply-adds;
    ``(E + N) * out_channels`` over edges.

    Args:
        in_channels: Intrinsic dimensions of the input; -1 to read them off the first one; a pair for sources and
            targets, see `MeanConv`.
        out_channels: Intrinsic dimensions of the output.
        normalization: ``"row"`` or ``"sym"``.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        activation: Function or name for :math:`\sigma`, ``None`` for the identity.
        dropout: Probability of dropping entries of the weight in training.
        add_self_loops: Add the identity; as ``normalize`` if left out.
        normalize: Divide by degrees at all.
        cached: Keep the normalised graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.

    Shapes:
        - input: as for `MobiusConv`;
        - output: the same with ``out_channels``.

    Raises:
        ValueError: If ``normalization`` is neither of the two.

    Example:
        >>> conv = HGNNConv(16, 32, activation="relu")
        >>> conv
        HGNNConv(16, 32)
        >>> conv(torch.zeros(3, 16), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 32])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        *,
        normalization: str = "row",
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
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
        if normalization not in _NORMALIZATIONS:
            raise unknown("normalization", normalization, _NORMALIZATIONS)
        manifold = as_hyperbolic(manifold)
        self._add_linear(MobiusLinear, out_channels, False, manifold=manifold, dropout=dropout)
        self.manifold = manifold
        self.normalization = normalization
        self.activation = resolve_activation(activation)

    def _transform(self, x: Points, linear: Any) -> Tensor:
        return log0(linear(x), self.manifold)

    def _finish(self, total: Tensor) -> Tensor:
        return ball_activation(exp0(total, self.manifold), self.activation, self.manifold)

    def _graph(
        self,
        h: Tensor,
        h_dst: Tensor | None,
        edge_index: Tensor,
        edge_weight: Tensor | None,
        size: tuple[int, int] | None,
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[int, int] | None]:
        if size is not None and self.normalization == "sym" and self.normalize:
            raise ValueError("`normalization` must be 'row' for bipartite graphs, whose degrees differ, got 'sym'.")
        return super()._graph(h, h_dst, edge_index, edge_weight, size)

    def _normalized(
        self,
        edge_index: Tensor,
        edge_weight: Tensor | None,
        num_nodes: int,
        *,
        add_self_loops: bool,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor | None]:
        if self.normalization == "row" or not self.normalize:
            return super()._normalized(edge_index, edge_weight, num_nodes, add_self_loops=add_self_loops, dtype=dtype)
        edges, weight = as_edges(edge_index, edge_weight, dtype)
        if add_self_loops:
            edges, weight = with_self_loops(edges, weight, 1.0, num_nodes)
        target = edges[1] if self.flow == "source_to_target" else edges[0]
        degree = scatter(weight, target, dim=0, dim_size=num_nodes, reduce="sum")
        # The inner `where` keeps the gradient of the unused branch finite.
        root = torch.where(degree > 0, torch.where(degree > 0, degree, 1.0).rsqrt(), 0.0)
        return edges, root[edges[0]] * weight * root[edges[1]]
