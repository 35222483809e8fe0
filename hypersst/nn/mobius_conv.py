"""Graph convolution of HGCN: Möbius linear layer, mean in the tangent space, activation between curvatures."""

from __future__ import annotations

from typing import Any

import geoopt
from torch import Tensor

from hypersst.manifolds import Lorentz
from hypersst.nn.activation import Activation, resolve_activation
from hypersst.nn.graph_conv import MeanConv, Points
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.mobius_linear import MobiusLinear
from hypersst.nn.origin import exp0, log0

__all__ = ["MobiusConv"]


class MobiusConv(MeanConv):
    r"""Mean of linearly transformed neighbours in the tangent space at the origin.

    With :math:`h_j = \operatorname{MobiusLinear}(x_j)` and :math:`\hat A = D^{-1}(A + I)`,

    .. math:: y_i = \exp_0^{c'}\Bigl(\sigma\bigl(\sum_j \hat A_{ij} \log_0^{c} h_j\bigr)\Bigr).

    HGCN returns to the manifold between mean and activation and leaves it again at once; the two maps are inverse
    and are left out.

    Source: Chami et al. (2019), *Hyperbolic Graph Convolutional Neural Networks*, eqs. 6–7, 9 and 10, aggregation at
    the origin and without attention, as in the authors' code.

    Use: to rebuild HGCN, or where each layer shall have a curvature of its own.

    Cost: ``out_channels * (in_channels + 1)`` parameters; ``N * out_channels * in_channels`` multiply-adds;
    ``(E + N) * out_channels`` over edges.

    Args:
        in_channels: Intrinsic dimensions of the input; -1 to read them off the first one; a pair for sources and
            targets, see `MeanConv`.
        out_channels: Intrinsic dimensions of the output.
        bias: Learn a Möbius bias.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        out_manifold: Manifold of the same kind for the output; ``manifold`` if left out.
        activation: Function or name for :math:`\sigma`, ``None`` for the identity.
        dropout: Probability of dropping entries of the weight in training.
        add_self_loops: Add the identity; as ``normalize`` if left out.
        normalize: Divide by the sum of each node's weights.
        cached: Keep the normalised graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.

    Shapes:
        - input: node points ``(N, in_channels)`` on the ball, ``(N, in_channels + 1)`` on the Lorentz manifold, or a
          `CSRMatrix` of that shape, or a pair for sources and targets; the graph as edges ``(2, E)``, as sparse
          ``adj_t`` ``(N, N)`` or as a `CSRMatrix` ``(N, N)``, which is taken as it is (already normalised); edge
          weights ``(E,)`` *(optional)*;
        - output: the same with ``out_channels``.

    Raises:
        ValueError: If ``manifold`` and ``out_manifold`` are of different kinds.

    Example:
        >>> import torch
        >>> conv = MobiusConv(16, 32, activation="relu")
        >>> conv
        MobiusConv(16, 32)
        >>> conv(torch.zeros(3, 16), torch.tensor([[0, 1], [1, 2]])).shape
        torch.Size([3, 32])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        out_manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
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
        manifold = as_hyperbolic(manifold)
        self._add_linear(MobiusLinear, out_channels, bias, manifold=manifold, dropout=dropout)
        self.manifold = manifold
        self.out_manifold = self.manifold if out_manifold is None else as_hyperbolic(out_manifold)
        if isinstance(self.manifold, Lorentz) != isinstance(self.out_manifold, Lorentz):
            raise ValueError(
                "`out_manifold` must be of the same kind as `manifold`, "
                f"got {type(self.out_manifold).__name__} and {type(self.manifold).__name__}."
            )
        self.activation = resolve_activation(activation)

    def _transform(self, x: Points, linear: Any) -> Tensor:
        return log0(linear(x), self.manifold)

    def _finish(self, total: Tensor) -> Tensor:
        return exp0(total if self.activation is None else self.activation(total), self.out_manifold)
