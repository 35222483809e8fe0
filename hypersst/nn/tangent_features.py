"""Points as Euclidean features, dense or sparse."""

from __future__ import annotations

import geoopt
from torch import Tensor, nn

from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.origin import log0, log_rows
from hypersst.nn.sparse import CSRMatrix

__all__ = ["TangentFeatures"]


class TangentFeatures(nn.Module):
    r"""Read points as tangent vectors at the origin, :math:`\log_0 x`: the inverse of `LiftFeatures`.

    Both use the manifold's own logarithm and exponential map; on the ball a vector is half as long as its point is far.
    A sparse matrix stays sparse: the logarithm multiplies each row by one number, and a Lorentz manifold's time column
    goes.

    Source: Chami et al. (2019), *Hyperbolic Graph Convolutional Neural Networks*, whose node
    classification decoder begins so.

    Use: to hand points to Euclidean layers, or to anything else that wants vectors.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes over the stored entries.

    Args:
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.

    Shapes:
        - input: ``(*, d + 1)`` on the Lorentz manifold, ``(*, d)`` on the ball, or a `CSRMatrix` of that many columns;
        - output: ``(*, d)``, sparse if the input is.

    Example:
        >>> import torch
        >>> from hypersst.manifolds import Lorentz
        >>> features = TangentFeatures(manifold=Lorentz())
        >>> features(torch.tensor([[1.0, 0.0, 0.0], [1.25, 0.75, 0.0]]))
        tensor([[0.0000, 0.0000],
                [0.6931, 0.0000]])
    """

    def __init__(self, *, manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None) -> None:
        super().__init__()
        self.manifold = as_hyperbolic(manifold)

    def forward(self, x: Tensor | CSRMatrix) -> Tensor | CSRMatrix:
        """Read points ``x``, shape ``(*, ambient)``, as vectors ``(*, d)``."""
        return log_rows(x, self.manifold) if isinstance(x, CSRMatrix) else log0(x, self.manifold)
