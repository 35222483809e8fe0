"""Elementwise functions of points."""

from __future__ import annotations

import geoopt
from torch import Tensor, nn

from hypersst.manifolds import Lorentz
from hypersst.nn.activation import Activation, resolve_activation
from hypersst.nn.chart import check_chart, from_chart, to_chart
from hypersst.nn.manifold_argument import as_hyperbolic

__all__ = ["HyperbolicActivation"]


class HyperbolicActivation(nn.Module):
    r"""Apply an elementwise function to the coordinates of points in a chart.

    .. math:: y = \psi_{\mathrm{out}}^{-1}\bigl(\sigma(\psi_{\mathrm{in}}(x))\bigr)

    The chart :math:`\psi` is the logarithm at the origin (``"tangent"``, HGCN), the space part of the Lorentz point
    (``"space"``, Hypformer) or the coordinates of the Poincaré ball (``"ball"``, HGNN), on either model; see
    `hypersst.nn.chart`. With ``out_manifold`` the result lies on a manifold of another curvature.

    On the ball, coordinates in ``"tangent"`` are half of a geodesic length, as everywhere: a function that does not
    commute with scaling (tanh, GELU) means another map than on the Lorentz manifold.

    Sources: Chami et al. (2019), *Hyperbolic Graph Convolutional Neural Networks*, the change of curvature included;
    Yang et al. (2024), *Hypformer*; Liu, Nickel and Kiela (2019), *Hyperbolic Graph Neural Networks*.

    Use: between hyperbolic layers that have no activation of their own, or to change the curvature between them.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes.

    Args:
        function: Function or name; ``None`` for the identity, where only the curvature shall change.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        out_manifold: Manifold of the same kind for the output; ``manifold`` if left out.
        chart: ``"tangent"``, ``"space"`` or ``"ball"``.

    Shapes:
        - input: ``(*, d)`` on the ball, ``(*, d + 1)`` on the Lorentz manifold;
        - output: the same.

    Raises:
        ValueError: If function or chart are unknown, or the manifolds are of different kinds.

    Example:
        >>> HyperbolicActivation("relu", chart="ball")(torch.tensor([[0.5, -0.5]]))
        tensor([[0.5000, 0.0000]])
    """

    def __init__(
        self,
        function: str | Activation | None,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        out_manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        chart: str = "tangent",
    ) -> None:
        super().__init__()
        check_chart(chart)
        self.function = resolve_activation(function)
        self.manifold = as_hyperbolic(manifold)
        self.out_manifold = self.manifold if out_manifold is None else as_hyperbolic(out_manifold)
        if isinstance(self.manifold, Lorentz) != isinstance(self.out_manifold, Lorentz):
            raise ValueError(
                "`out_manifold` must be of the same kind as `manifold`, "
                f"got {type(self.out_manifold).__name__} and {type(self.manifold).__name__}."
            )
        self.chart = chart

    def forward(self, x: Tensor) -> Tensor:
        """Map points ``x``, shape ``(*, ambient)``, to points of the same shape."""
        v = to_chart(x, self.manifold, self.chart)
        return from_chart(v if self.function is None else self.function(v), self.out_manifold, self.chart)

    def extra_repr(self) -> str:
        """Function, if it is no module, and chart."""
        parts = [f"chart={self.chart!r}"]
        if not isinstance(self.function, nn.Module):
            parts.insert(0, getattr(self.function, "__name__", repr(self.function)))
        return ", ".join(parts)
