r"""Graph convolution of HyboNet: Lorentz linear layer, then Lorentz centroid of the neighbours.

# Note [type of the sums]

Rounding a sum s of points loses :math:`\cosh^2` of their radius in digits of :math:`\langle s, s\rangle`. The gate
bounds that cosh by :math:`\sqrt c\,e^s + 1.1`, which is 11 at first: sums in float32 are then right to 3e-5, to 2e-3
for a scale that has learned to be 100, and to 4 % where the manifold's largest radius holds it. (Unheld it came to
2,300 on Airport's links, where a sum can round to no length at all, and its centroid to a time of 7e12.) Nothing bounds
the other two forms, whose sums are in float64, which makes a training step a tenth to a quarter longer on a CPU
(docs/performance.md).
"""

from __future__ import annotations

from typing import Any

import geoopt
import torch
from torch import Tensor

from hypersst.nn.activation import Activation
from hypersst.nn.centroid_sums import CentroidSums
from hypersst.nn.graph_conv import MeanConv, Points
from hypersst.nn.lorentz_linear import LorentzLinear
from hypersst.nn.manifold_argument import as_lorentz

__all__ = ["LorentzConv"]


class LorentzConv(CentroidSums, MeanConv):
    r"""Lorentz centroid of linearly transformed neighbours.

    With :math:`h_j = \operatorname{LorentzLinear}(x_j)` and :math:`\hat A = D^{-1}(A + I)`,

    .. math:: s_i = \sum_j \hat A_{ij} h_j, \qquad y_i = \frac{s_i}{\sqrt c\,\sqrt{|\langle s_i, s_i\rangle|}}.

    The centroid does not change when a row of :math:`\hat A` is scaled: ``normalize`` only keeps the sums small.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, section 3.2 (centroid), without attention; it is
    the Lorentz centroid of Law et al. (2019), *Lorentzian Distance Learning for Hyperbolic Representations*.

    Use: to rebuild HyboNet, or for any graph network on the Lorentz manifold that shall avoid tangent spaces.

    Cost: ``(out_channels + 1) * (in_channels + 2) + 1`` parameters; ``N * (out_channels + 1) * (in_channels + 1)``
    multiply-adds; ``(E + N) * (out_channels + 1)`` over edges.

    Args:
        in_channels: Intrinsic dimensions of the input, whose points have ``in_channels + 1`` coordinates; -1 to read
            them off the first input; a pair for sources and targets, see `MeanConv`.
        out_channels: Intrinsic dimensions of the output.
        bias: Learn a bias in the linear layer.
        time: Form of the linear layer, see `LorentzLinear`.
        sum_dtype: Type to sum in; if left out, that of the points for ``"gated"``, whose radius is bounded, and float64
            else.
        manifold: Where the points lie; curvature -1 if left out.
        activation: Function or name, applied to the input's ambient vector.
        dropout: Probability of dropping entries of the input in training.
        add_self_loops: Add the identity; as ``normalize`` if left out.
        normalize: Divide by the sum of each node's weights.
        cached: Keep the normalised graph of the first call; for transductive training only.
        **kwargs: Arguments of PyG's `MessagePassing`.

    Shapes:
        - input: node points ``(N, in_channels + 1)`` or a `CSRMatrix` of that shape, or a pair of them for sources and
          targets; the graph as edges ``(2, E)``,
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
        in_channels: int | tuple[int, int],
        out_channels: int,
        bias: bool = True,
        *,
        time: str = "gated",
        sum_dtype: torch.dtype | None = None,
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
        options: dict[str, Any] = {"time": time, "activation": activation, "dropout": dropout}
        manifold = as_lorentz(manifold)
        self._add_linear(LorentzLinear, out_channels, bias, manifold=manifold, **options)
        self.manifold = manifold
        self.sum_dtype = torch.float64 if sum_dtype is None and time != "gated" else sum_dtype

    def _transform(self, x: Points, linear: Any) -> Tensor:
        return linear(x, dtype=self.sum_dtype)

    def _widen(self, h: Tensor) -> Tensor:
        return h

    def _type(self, x: Points, h: Tensor) -> torch.dtype:
        return torch.promote_types(x.dtype, torch.float32)

    def _finish(self, total: Tensor) -> Tensor:
        return total
