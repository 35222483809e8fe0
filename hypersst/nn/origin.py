r"""Between a manifold and its tangent space at the origin, in intrinsic coordinates, dense or sparse.

Layers that compute in the tangent space see vectors of ``d`` numbers on either manifold; the Lorentz
model's zero time is neither stored nor multiplied. Each manifold keeps its own convention for the length of
a tangent vector: the ball's ``expmap0(u)`` lies at distance :math:`2\lVert u\rVert`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn.sparse import CSRMatrix, linear

__all__ = ["exp0", "lift_rows", "log0", "log0_linear", "log_rows"]


def exp0(v: Tensor, manifold: Lorentz | PoincareBall) -> Tensor:
    """Send tangent vectors at the origin, shape ``(*, d)``, onto the manifold.

    Returns:
        Points, shape ``(*, d + 1)`` on the Lorentz manifold and ``(*, d)`` on the ball.
    """
    return manifold.expmap0_space(v) if isinstance(manifold, Lorentz) else manifold.expmap0(v)


def log0(x: Tensor, manifold: Lorentz | PoincareBall) -> Tensor:
    """Read points as tangent vectors at the origin, shape ``(*, d)``; inverse of `exp0`."""
    return manifold.logmap0_space(x) if isinstance(manifold, Lorentz) else manifold.logmap0(x)


def lift_rows(features: CSRMatrix, manifold: Lorentz | PoincareBall) -> CSRMatrix:
    r"""`exp0` of each row of a sparse matrix, without making it dense.

    The exponential map at the origin is radial, so a row is multiplied by one number,
    :math:`\rho(\lVert v\rVert) / \lVert v\rVert`, where :math:`\rho` is the map in one dimension.

    Args:
        features: Tangent vectors as rows, shape ``(rows, d)``.
        manifold: Where to lift them.

    Returns:
        Points as rows, with every time coordinate stored in column 0 on the Lorentz manifold,
        shape ``(rows, d + 1)``; shape ``(rows, d)`` on the ball.
    """
    norm = _row_norms(features)
    radial = exp0(norm.unsqueeze(-1), manifold)
    points = features.scale_rows(radial[:, -1] / norm)
    return points.prepend_column(radial[:, 0]) if isinstance(manifold, Lorentz) else points


def log_rows(points: CSRMatrix, manifold: Lorentz | PoincareBall) -> CSRMatrix:
    """`log0` of each row of a sparse matrix, without making it dense; inverse of `lift_rows`.

    Args:
        points: Points as rows, shape ``(rows, d + 1)`` with every time coordinate stored on the Lorentz manifold,
            ``(rows, d)`` on the ball.
        manifold: Where they lie.

    Returns:
        Tangent vectors as rows, shape ``(rows, d)``.
    """
    if isinstance(manifold, Lorentz):
        points = _without_first_column(points)
    norm = _row_norms(points).unsqueeze(-1)
    # The logarithm does not read a Lorentz point's time.
    radial = F.pad(norm, (1, 0)) if isinstance(manifold, Lorentz) else norm
    return points.scale_rows((log0(radial, manifold) / norm).squeeze(-1))


def log0_linear(x: Tensor | CSRMatrix, weight: Tensor, manifold: Lorentz | PoincareBall) -> Tensor:
    r"""Map points to :math:`W \log_0 x`, tangent vectors at the origin.

    For sparse rows the radial factor of the logarithm is applied after the product: it is one number a row.

    Args:
        x: Points, dense or sparse rows.
        weight: Shape ``(out, d)``.
        manifold: Where the points lie.

    Returns:
        Tangent vectors, shape ``(*, out)``.
    """
    if not isinstance(x, CSRMatrix):
        return linear(log0(x, manifold), weight)
    if isinstance(manifold, Lorentz):
        # Column 0 is time: it belongs neither to the norm nor to the product.
        norm = _row_norms(x.with_values(x.values * (x.col > 0)))
        radial = torch.stack((norm.square().add(1.0 / manifold.c).sqrt(), norm), dim=-1)
        weight = F.pad(weight, (1, 0))
    else:
        norm = _row_norms(x)
        radial = norm.unsqueeze(-1)
    return linear(x, weight) * (log0(radial, manifold) / norm.unsqueeze(-1))


def _row_norms(matrix: CSRMatrix) -> Tensor:
    """Norm of each row, kept above 0 so that quotients by it and its gradient are finite, shape ``(rows,)``."""
    # The smallest square that float32 can still take the root of, times a margin; a row this short is zero.
    floor = torch.finfo(matrix.dtype).tiny * 1e6
    return matrix.row_sums(matrix.values.square()).clamp_min(floor).sqrt()


def _without_first_column(matrix: CSRMatrix) -> CSRMatrix:
    """Drop column 0, every entry of which is stored; inverse of `CSRMatrix.prepend_column`."""
    rows, columns = matrix.shape
    # A stable sort keeps the order of the others, and, unlike a mask, does not wait for the device to count them.
    kept = (matrix.col == 0).int().argsort(stable=True)[: matrix.col.numel() - rows]
    row = matrix.row[kept].long()
    counts = torch.zeros(rows, dtype=torch.long, device=row.device).index_add(0, row, torch.ones_like(row))
    crow = F.pad(counts.cumsum(0), (1, 0))
    return CSRMatrix(crow, matrix.col[kept] - 1, matrix.values[kept], (rows, columns - 1))
