"""Positions in a sequence, on the manifold."""

from __future__ import annotations

import math

import geoopt
import torch
from torch import Tensor, nn

from hypersst.errors import unknown
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.manifolds.stable import at_least_float32
from hypersst.nn.chart import check_intrinsic
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.origin import exp0
from hypersst.nn.residual import HyperbolicResidual
from hypersst.nn.shapes import check_channels

__all__ = ["HyperbolicPositionalEncoding", "rotary", "sinusoids"]

_FORMS = ("sinusoidal", "learned", "rotary")


class HyperbolicPositionalEncoding(nn.Module):
    r"""Tell the points of a sequence where in it they stand.

    With :math:`\theta_k = 10000^{-2k/d}` and position i, counted from ``offset``,

    - ``"sinusoidal"``: :math:`e_i = \exp_0(p_i)` with
      :math:`p_i = \sqrt{2/d}\,(\sin\theta_0 i, \cos\theta_0 i, \sin\theta_1 i, \dots)`, one unit of length from the
      origin on either model, and :math:`y_i` the Lorentz centroid of :math:`x_i` and :math:`e_i` with weights 1 and w,
      as in `HyperbolicResidual`; w is learned;
    - ``"learned"``: the same with :math:`p_i` a row of the parameter ``offsets``;
    - ``"rotary"``: pairs :math:`(2k, 2k + 1)` of space coordinates (on the ball, of coordinates) are rotated by the
      angle :math:`\theta_k i`; of an odd number the last stays. That is an isometry :math:`R_i`, so distances within a
      position do not change, and

      .. math:: d(R_i q, R_j k) = d(q, R_{j - i} k).

    Sources: Vaswani et al. (2017), *Attention Is All You Need*, for the sinusoids; Su et al. (2021), *RoFormer*, for
    the rotations, and He et al. (2025), *HELM*, for those of Lorentz points. Departures: sinusoids have length 1
    instead of :math:`\sqrt{d/2}`, which from d = 100 on would be beyond the largest radius of float32; HyboNet's
    translation model adds positions to the input of a linear layer instead.

    Use: before a Transformer on the manifold; ``"rotary"`` on queries and keys, in every layer.

    Cost: ``1`` parameters; ``0`` multiply-adds; ``"learned"`` has ``max_len * num_channels`` more, ``"rotary"`` none.

    Args:
        num_channels: Intrinsic dimensions d of the points.
        max_len: Largest number of positions; ``"learned"`` has so many offsets.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        form: ``"sinusoidal"``, ``"learned"`` or ``"rotary"``.
        batch_first: Whether the last axis but one counts positions, and not the first.
        weight: First value of w, positive; of no meaning for ``"rotary"``.

    Shapes:
        - input: ``(L, *, ambient)``, or ``(*, L, ambient)`` with ``batch_first``; ambient is ``num_channels`` on the
          ball, one more on the Lorentz manifold;
        - output: the same.

    Raises:
        ValueError: If a size is not positive or ``form`` is unknown; in ``forward``, if the shape does not fit or the
            sequence is too long.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> encode = HyperbolicPositionalEncoding(4, manifold=Lorentz(), form="rotary")
        >>> encode(Lorentz().from_space(torch.tensor([[0.0, 0.0, 0.0, 0.75]]).expand(2, 4)))
        tensor([[ 1.2500,  0.0000,  0.0000,  0.0000,  0.7500],
                [ 1.2500,  0.0000,  0.0000, -0.0075,  0.7500]])
    """

    def __init__(
        self,
        num_channels: int,
        max_len: int = 5000,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        form: str = "sinusoidal",
        batch_first: bool = False,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_channels(num_channels=num_channels, max_len=max_len)
        if form not in _FORMS:
            raise unknown("form", form, _FORMS)
        self.num_channels = num_channels
        self.max_len = max_len
        self.manifold = as_hyperbolic(manifold)
        self.form = form
        self.batch_first = batch_first
        self.offsets = nn.Parameter(torch.empty(max_len, num_channels)) if form == "learned" else None
        self.residual = None
        if form != "rotary":
            self.residual = HyperbolicResidual(manifold=self.manifold, weight=weight, learnable=True)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw learned offsets of length about one, and set the weight to its first value."""
        if self.offsets is not None:
            nn.init.normal_(self.offsets, std=self.num_channels**-0.5)
        if self.residual is not None:
            self.residual.reset_parameters()

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Encode positions ``offset``, ``offset + 1``, … of points ``x``, shape ``(L, *, ambient)``."""
        check_intrinsic(x, self.num_channels, self.manifold, "num_channels")
        axis = -2 if self.batch_first else 0
        if x.dim() < 2 or not 0 <= offset <= self.max_len - x.size(axis):
            raise ValueError(
                f"`x` must have positions within max_len = {self.max_len}, got shape {tuple(x.shape)} from {offset} on."
            )
        length = x.size(axis)
        x = at_least_float32(x)
        if self.residual is None:
            return rotary(x, self._along(x, self._angles(offset, length, x.device)), self.manifold)
        if self.offsets is None:
            waves = sinusoids(self._angles(offset, length, x.device))[:, : self.num_channels]
            vectors = math.sqrt(2.0 / self.num_channels) * waves.to(x.dtype)
        else:
            vectors = at_least_float32(self.offsets[offset : offset + length])
        # The ball's exponential map doubles lengths.
        vectors = vectors if isinstance(self.manifold, Lorentz) else 0.5 * vectors
        return self.residual(x, self._along(x, exp0(vectors, self.manifold)))

    def _angles(self, offset: int, length: int, device: torch.device) -> Tensor:
        """Angles θ_k i, shape ``(length, (d + 1) // 2)``, in float64: float32 has few digits for late positions."""
        pair = torch.arange((self.num_channels + 1) // 2, dtype=torch.float64, device=device)
        position = torch.arange(offset, offset + length, dtype=torch.float64, device=device)
        return position.unsqueeze(-1) * 10000.0 ** (-2.0 * pair / self.num_channels)

    def _along(self, x: Tensor, table: Tensor) -> Tensor:
        """Rows ``(L, k)`` in a shape that broadcasts against x."""
        return table if self.batch_first else table.unflatten(0, (table.size(0), *[1] * (x.dim() - 2)))

    def extra_repr(self) -> str:
        """Sizes and options."""
        return f"{self.num_channels}, max_len={self.max_len}, form={self.form!r}, batch_first={self.batch_first}"


def sinusoids(angles: Tensor) -> Tensor:
    """Sine and cosine of each angle, side by side: ``(*, k)`` to ``(*, 2k)``."""
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def rotary(x: Tensor, angles: Tensor, manifold: Lorentz | PoincareBall) -> Tensor:
    """Rotate pairs of coordinates, on the Lorentz manifold of space coordinates; an isometry.

    Args:
        x: Points, shape ``(*, ambient)``.
        angles: One for each pair, broadcastable to ``(*, d // 2)``; a further one is ignored.
        manifold: Where the points lie.

    Returns:
        Points, the same shape.
    """
    first = int(isinstance(manifold, Lorentz))
    pairs = (x.size(-1) - first) // 2
    cos, sin = angles[..., :pairs].cos().to(x.dtype), angles[..., :pairs].sin().to(x.dtype)
    even, odd = x[..., first : first + 2 * pairs].unflatten(-1, (pairs, 2)).unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
    return torch.cat((x[..., :first], turned, x[..., first + 2 * pairs :]), dim=-1)
