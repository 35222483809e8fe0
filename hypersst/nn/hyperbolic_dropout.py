"""Dropout of coordinates of points."""

from __future__ import annotations

import geoopt
from torch import Tensor, nn

from hypersst.manifolds import Lorentz
from hypersst.nn.chart import check_chart, from_chart, to_chart
from hypersst.nn.dropout import dropout
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.shapes import check_probability

__all__ = ["HyperbolicDropout"]


class HyperbolicDropout(nn.Module):
    r"""Zero coordinates of points at random in training, and enlarge the others in proportion.

    .. math:: y = \psi^{-1}\Bigl(\frac{m \circ \psi(x)}{1 - p}\Bigr), \qquad m_i \sim \mathrm{Bernoulli}(1 - p)

    The chart :math:`\psi` is the space part on the Lorentz manifold and the tangent space at the origin on the ball,
    unless told otherwise (`hypersst.nn.chart`); its coordinates keep their mean. Points that leave the manifold's
    largest radius come back to it. In evaluation, and with ``p=0``, the input is returned as it is.

    Sources: Yang et al. (2024), *Hypformer*, for the space part; Ganea, Bécigneul and Hofmann (2018), *Hyperbolic
    Neural Networks*, for Euclidean operations in the tangent space.

    Use: between hyperbolic layers that have no dropout of their own.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes, in training only.

    Args:
        p: Probability with which a coordinate is zeroed.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        chart: ``"tangent"``, ``"space"`` or ``"ball"``.

    Shapes:
        - input: ``(*, d)`` on the ball, ``(*, d + 1)`` on the Lorentz manifold;
        - output: the same.

    Raises:
        ValueError: If ``p`` is no probability below 1 or ``chart`` is unknown.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> _ = torch.manual_seed(1)
        >>> layer = HyperbolicDropout(0.5, manifold=Lorentz())
        >>> layer(layer.manifold.from_space(torch.ones(2, 3)))
        tensor([[3.6056, 2.0000, 2.0000, 2.0000],
                [2.2361, 0.0000, 0.0000, 2.0000]])
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        chart: str | None = None,
    ) -> None:
        super().__init__()
        check_probability(p=p)
        self.p = p
        self.manifold = as_hyperbolic(manifold)
        self.chart = ("space" if isinstance(self.manifold, Lorentz) else "tangent") if chart is None else chart
        check_chart(self.chart)

    def forward(self, x: Tensor) -> Tensor:
        """Drop coordinates of points ``x``, shape ``(*, ambient)``."""
        if not self.training or self.p == 0.0:
            return x
        v = dropout(to_chart(x, self.manifold, self.chart), self.p)
        return from_chart(v, self.manifold, self.chart)

    def extra_repr(self) -> str:
        """Probability and chart."""
        return f"p={self.p}, chart={self.chart!r}"
