"""Batch normalisation of points."""

from __future__ import annotations

import geoopt
import torch
from torch import Tensor, nn

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.manifolds.stable import dot
from hypersst.nn.chart import check_intrinsic, from_chart
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.manifold_module import ManifoldModule, manifold_parameter
from hypersst.nn.shapes import check_channels

__all__ = ["HyperbolicBatchNorm"]


class HyperbolicBatchNorm(ManifoldModule):
    r"""Move the mean of a batch of points to a learned point and scale the distances from it to a learned deviation.

    .. math::
        y = \exp_\beta\Bigl(P_{0\to\beta}\,\frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}\,P_{\mu\to 0}\log_\mu x\Bigr),
        \qquad \sigma^2 = \operatorname{mean}\,d^2(\mu, x)

    The mean :math:`\mu` is the Lorentz centroid, on the ball the gyromidpoint, which is the same point. Distances are
    geodesic on either model, so a batch looks the same on both. In training, mean and variance are those of all rows;
    in evaluation the running ones are used: a point, which moves along the geodesic to each batch's mean by
    ``momentum`` of the way, and a number, which is averaged as in torch, its batch's part being :math:`\sigma^2
    n/(n - 1)` for n rows. An isometry of the inputs only rotates the outputs about :math:`\beta`.

    Sources: Lou et al. (2020), *Differentiating through the Fréchet Mean*, whose form it has, with the mean in closed
    form of van Spengler et al. (2023), *Poincaré ResNet*, on the ball, and of Bdeir et al. (2024), *Fully Hyperbolic
    Convolutional Neural Networks for Computer Vision*, on the Lorentz manifold. Of the two ways for tangents from
    :math:`\mu` to :math:`\beta` it takes that of the last, by way of the origin, on both models.

    Use: between hyperbolic convolutions or linear layers, where points drift from the origin or run into its radius.

    Cost: ``num_features + 1`` parameters; ``0`` multiply-adds; a few elementwise passes; on the Lorentz manifold
    :math:`\beta` is stored with its time, one number more.

    Args:
        num_features: Intrinsic dimensions d of the points.
        eps: What is added to the variance.
        momentum: How far the running statistics move to those of a batch; ``None`` averages all batches evenly.
        affine: Learn :math:`\gamma` (``weight``, a number) and :math:`\beta` (``bias``, a manifold parameter, for a
            Riemannian optimizer), which start at 1 and the origin; otherwise they stay there.
        track_running_stats: Keep running statistics; otherwise those of the batch are used in evaluation as well.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.

    Shapes:
        - input: ``(*, d)`` on the ball, ``(*, d + 1)`` on the Lorentz manifold; all axes but the last are the batch;
        - output: the same.

    Raises:
        ValueError: If a size is not positive, ``momentum`` is outside [0, 1], the points have other dimensions, or a
            batch whose statistics are asked for has one row.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> layer = HyperbolicBatchNorm(2, manifold=Lorentz())
        >>> y = layer(layer.manifold.from_space(torch.randn(50, 2) + 3.0))
        >>> layer.manifold.dist0(y).square().mean().detach()
        tensor(1.0000)
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
    ) -> None:
        super().__init__()
        check_channels(num_features=num_features)
        if momentum is not None and not 0.0 <= momentum <= 1.0:
            raise ValueError(f"`momentum` must be at least 0 and at most 1, or None, got {momentum}.")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.manifold = as_hyperbolic(manifold)
        self.weight = nn.Parameter(torch.ones(())) if affine else None
        self.bias = manifold_parameter(self._origin(), self.manifold) if affine else None
        self.register_buffer("running_mean", self._origin() if track_running_stats else None)
        self.register_buffer("running_var", torch.ones(()) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0) if track_running_stats else None)

    def _origin(self) -> Tensor:
        # Not geoopt's `origin`, which looks at values: on the meta device there are none.
        c = self.manifold.c.detach()
        with torch.no_grad():
            return from_chart(torch.zeros(self.num_features, dtype=c.dtype, device=c.device), self.manifold, "space")

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set scale and centre to one and the origin, and forget the running statistics."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            self.weight.fill_(1.0)
            self.bias.copy_(self._origin())

    @torch.no_grad()
    def reset_running_stats(self) -> None:
        """Set running mean, variance and count to the origin, one and zero."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.copy_(self._origin())
            self.running_var.fill_(1.0)
            self.num_batches_tracked.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise points ``x``, shape ``(*, ambient)``."""
        manifold = self.manifold
        check_intrinsic(x, self.num_features, manifold, "num_features")
        if self.training or self.running_mean is None or self.running_var is None:
            rows = x.reshape(-1, x.shape[-1])
            count = rows.shape[0]
            if count < 2:
                raise ValueError(f"`x` must have more than one row to take statistics of, got shape {tuple(x.shape)}.")
            mean = manifold.midpoint(rows)
            tangent = _tangent_at_origin(mean, x, manifold)
            # The metric of the ball is 4 dx² at the origin.
            var = (1.0 if isinstance(manifold, Lorentz) else 4.0) * dot(tangent, tangent).mean()
            if self.training:
                self._track(mean.detach(), var.detach() * (count / (count - 1)))
        else:
            # The projection takes time from space, which a cast or a loaded state may have rounded apart.
            tangent = _tangent_at_origin(manifold.projx(self.running_mean), x, manifold)
            var = self.running_var
        tangent = tangent * (var + self.eps).rsqrt()
        if self.weight is None or self.bias is None:
            return manifold.expmap0(tangent)
        centre = manifold.projx(self.bias)
        return manifold.expmap(centre, manifold.transp0(centre, self.weight * tangent))

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        step = self.num_batches_tracked.to(var).reciprocal() if self.momentum is None else self.momentum
        manifold, before = self.manifold, self.manifold.projx(self.running_mean)
        self.running_mean.copy_(manifold.expmap(before, step * manifold.logmap(before, mean.to(before))))
        self.running_var.lerp_(var.to(self.running_var), step)

    def extra_repr(self) -> str:
        """As torch's batch normalisation."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


def _tangent_at_origin(mean: Tensor, x: Tensor, manifold: Lorentz | PoincareBall) -> Tensor:
    """Logarithms of points at their mean, carried to the origin."""
    return manifold.transp0back(mean, manifold.logmap(mean, x))
