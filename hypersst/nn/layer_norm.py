"""Layer normalisation and its kin without a mean, of the coordinates of points."""

from __future__ import annotations

from collections.abc import Sequence

import geoopt
from torch import Tensor, nn

from hypersst.nn.chart import check_chart, check_intrinsic, from_chart, to_chart
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.shapes import check_channels

__all__ = ["HyperbolicLayerNorm", "HyperbolicRMSNorm"]


class HyperbolicLayerNorm(nn.LayerNorm):
    r"""Normalise the coordinates of each point in a chart to mean 0 and variance 1.

    .. math::
        v = \psi(x), \qquad
        y = \psi^{-1}\Bigl(\gamma \circ \frac{v - \operatorname{mean} v}{\sqrt{\operatorname{var} v + \epsilon}}
        + \beta\Bigr)

    It is `torch.nn.LayerNorm` in the chart :math:`\psi`. In the default, the space part of the Lorentz point on either
    model, normalised points of d dimensions lie :math:`\operatorname{asinh}(\sqrt{cd})/\sqrt c` from the origin; in
    ``"tangent"`` it would be :math:`\sqrt d` (on the ball :math:`2\sqrt d`), beyond the manifold's largest radius for
    d above 49 (12) at c = 1.

    Source: Yang et al. (2024), *Hypformer*, whose operations on the space part (HRC) include it.

    Use: in hyperbolic Transformers, where torch's would stand; `HyperbolicBatchNorm` where radii shall survive.

    Cost: ``2 * normalized_shape[-1]`` parameters; ``0`` multiply-adds; a few elementwise passes.

    Args:
        normalized_shape: Intrinsic dimensions of the points; of several sizes, as in torch, the last one is.
        eps: What is added to the variance.
        affine: Learn :math:`\gamma` (``weight``) and :math:`\beta` (``bias``), d numbers each.
        bias: Learn :math:`\beta`, if ``affine``.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        chart: ``"space"`` (if left out), ``"tangent"`` or ``"ball"``, see `hypersst.nn.chart`.

    Shapes:
        - input: ``(*, d)`` on the ball, ``(*, d + 1)`` on the Lorentz manifold;
        - output: the same.

    Raises:
        ValueError: If a size is not positive, ``chart`` is unknown or the points have other dimensions.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> layer = HyperbolicLayerNorm(2, manifold=Lorentz())
        >>> layer(layer.manifold.from_space(torch.tensor([[3.0, 7.0]]))).detach()
        tensor([[ 1.7320, -1.0000,  1.0000]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        affine: bool = True,
        bias: bool = True,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        chart: str | None = None,
    ) -> None:
        super().__init__(_sizes(normalized_shape), eps, elementwise_affine=affine, bias=bias)
        self.manifold = as_hyperbolic(manifold)
        self.chart = "space" if chart is None else chart
        check_chart(self.chart)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise points ``x``, shape ``(*, ambient)``."""
        check_intrinsic(x, self.normalized_shape[-1], self.manifold, "normalized_shape[-1]")
        return from_chart(super().forward(to_chart(x, self.manifold, self.chart)), self.manifold, self.chart)

    def extra_repr(self) -> str:
        """As torch's, and the chart."""
        return f"{super().extra_repr()}, chart={self.chart!r}"


class HyperbolicRMSNorm(nn.RMSNorm):
    r"""Scale the coordinates of each point in a chart to root mean square 1.

    .. math::
        v = \psi(x), \qquad
        y = \psi^{-1}\Bigl(\gamma \circ \frac{v}{\sqrt{\operatorname{mean} v^2 + \epsilon}}\Bigr)

    It is `torch.nn.RMSNorm` in the chart :math:`\psi`. Without :math:`\gamma` a point moves along its ray to a radius
    that all share, and rotations pass through; for that radius and the chart see `HyperbolicLayerNorm`.

    Sources: Zhang and Sennrich (2019), *Root Mean Square Layer Normalization*; He et al. (2025), *HELM: Hyperbolic
    Large Language Models via Mixture-of-Curvature Experts*, for the space part.

    Use: as `HyperbolicLayerNorm`, where directions shall be kept.

    Cost: ``normalized_shape[-1]`` parameters; ``0`` multiply-adds; a few elementwise passes.

    Args:
        normalized_shape: Intrinsic dimensions of the points; of several sizes, as in torch, the last one is.
        eps: What is added to the mean square; the machine epsilon if left out.
        affine: Learn :math:`\gamma` (``weight``), d numbers.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        chart: ``"space"`` (if left out), ``"tangent"`` or ``"ball"``, see `hypersst.nn.chart`.

    Shapes:
        - input: ``(*, d)`` on the ball, ``(*, d + 1)`` on the Lorentz manifold;
        - output: the same.

    Raises:
        ValueError: If a size is not positive, ``chart`` is unknown or the points have other dimensions.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> layer = HyperbolicRMSNorm(2, manifold=Lorentz())
        >>> layer(layer.manifold.from_space(torch.tensor([[7.0, 7.0]]))).detach()
        tensor([[1.7321, 1.0000, 1.0000]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        affine: bool = True,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        chart: str | None = None,
    ) -> None:
        super().__init__(_sizes(normalized_shape), eps, elementwise_affine=affine)
        self.manifold = as_hyperbolic(manifold)
        self.chart = "space" if chart is None else chart
        check_chart(self.chart)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise points ``x``, shape ``(*, ambient)``."""
        check_intrinsic(x, self.normalized_shape[-1], self.manifold, "normalized_shape[-1]")
        return from_chart(super().forward(to_chart(x, self.manifold, self.chart)), self.manifold, self.chart)

    def extra_repr(self) -> str:
        """As torch's, and the chart."""
        return f"{super().extra_repr()}, chart={self.chart!r}"


def _sizes(normalized_shape: int | Sequence[int]) -> list[int]:
    sizes = [normalized_shape] if isinstance(normalized_shape, int) else list(normalized_shape)
    if not sizes:
        raise ValueError("`normalized_shape` must hold at least one size, got none.")
    for size in sizes:
        check_channels(normalized_shape=size)
    return sizes
