"""Fully connected layer between Lorentz manifolds, in three forms."""

from __future__ import annotations

import math

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.errors import unknown
from hypersst.manifolds.stable import at_least_float32
from hypersst.nn.activation import Activation, resolve_activation
from hypersst.nn.gated_point import OFFSET, gated_point
from hypersst.nn.hyperplane import lorentz_hyperplanes, space_from_distances
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.shapes import check_channels, check_features, check_probability
from hypersst.nn.sparse import CSRMatrix, dropout, linear

__all__ = ["LorentzLinear"]

_FORMS = ("gated", "recomputed", "hyperplane")


class LorentzLinear(nn.Module):
    r"""Map Lorentz points with ``in_channels`` to points with ``out_channels`` intrinsic dimensions.

    All three forms multiply by one Euclidean ``weight`` and end on the hyperboloid by construction. With
    :math:`\phi` the activation and dropout on the ambient vector and :math:`W` the weight,

    - ``"gated"`` (HyboNet): :math:`z = W\phi(x) + b` with :math:`W` of shape ``(out + 1, in + 1)``; the first
      entry of :math:`z` sets the time through a sigmoid, the others the direction (`gated_point`). Points stay
      within :math:`\operatorname{arcosh}(\sqrt c\,e^s + 1.1)/\sqrt c` of the origin, :math:`s` being learned; where
      that is beyond the manifold's ``max_radius`` :math:`R`, :math:`2s_R - s` takes the place of :math:`s`, with
      :math:`s_R` what reaches :math:`R`.
    - ``"recomputed"`` (Hypformer's HTC): :math:`y_s = W\phi(x) + b` with :math:`W` of shape ``(out, in + 1)``,
      :math:`y_0 = \sqrt{1/c + \lVert y_s\rVert^2}`.
    - ``"hyperplane"`` (PLFC): :math:`y_k = \sinh(\sqrt c\,v_k)/\sqrt c` with :math:`v_k` the signed distance to
      the hyperplane of row :math:`k` of :math:`W`, shape ``(out, in)``, and offset :math:`a_k`; time recomputed.
      It is `PoincareLinear` with weight :math:`W/2` and bias :math:`a/2` seen in the other model.

    Sources: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, eq. 7 (the paper has no bias in the gate, the
    authors' code has); Yang et al. (2024), *Hypformer*; *Intrinsic Lorentz Neural Network* (2026),
    arXiv:2602.23981. Departures: the weight on the time coordinate starts at zero in ``"recomputed"`` too, so that
    the origin maps to the origin.

    Use: ``"gated"`` to rebuild HyboNet, or where features must stay within a learned radius whatever the weight;
    ``"recomputed"`` for Hypformer; ``"hyperplane"`` where the same network shall also run in the Poincaré ball.

    Cost: ``(out_channels + 1) * (in_channels + 2) + 1`` parameters; ``N * (out_channels + 1) * (in_channels + 1)``
    multiply-adds; that is ``"gated"``: ``"recomputed"`` has a row less and no scale, ``"hyperplane"`` one column less.

    Args:
        in_channels: Intrinsic dimensions of the input; its points have ``in_channels + 1`` coordinates.
        out_channels: Intrinsic dimensions of the output.
        bias: Learn a bias: added to :math:`z` or :math:`y_s`, or the offsets of the hyperplanes.
        time: Which of the three forms.
        manifold: Where the points lie; curvature -1 if left out.
        activation: Function or name, applied to the input's ambient vector; ``None`` for none.
        dropout: Probability with which entries of the input's ambient vector are zeroed in training.

    Shapes:
        - input: ``(*, in_channels + 1)``, or a `CSRMatrix` of that many columns;
        - output: ``(*, out_channels + 1)``.

    Raises:
        ValueError: If a size is not positive, ``dropout`` is no probability or ``time`` is none of the three.

    Example:
        >>> layer = LorentzLinear(16, 32)
        >>> x = layer.manifold.from_space(torch.randn(5, 16))
        >>> layer(x).shape
        torch.Size([5, 33])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bias: bool = True,
        *,
        time: str = "gated",
        manifold: geoopt.Lorentz | None = None,
        activation: str | Activation | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, out_channels=out_channels)
        check_probability(dropout=dropout)
        if time not in _FORMS:
            raise unknown("time", time, _FORMS)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.time = time
        self.manifold = as_lorentz(manifold)
        self.activation = resolve_activation(activation)
        self.dropout = dropout
        rows = out_channels + 1 if time == "gated" else out_channels
        columns = in_channels if time == "hyperplane" else in_channels + 1
        self.weight = nn.Parameter(torch.empty(rows, columns))
        self.bias = nn.Parameter(torch.empty(rows)) if bias else None
        self.scale = nn.Parameter(torch.empty(())) if time == "gated" else None
        self.reset_parameters()

    @property
    def ambient_channels(self) -> tuple[int, int]:
        """Numbers of coordinates that go in and come out."""
        return self.in_channels + 1, self.out_channels + 1

    @property
    def column_sizes(self) -> Tensor | None:
        """Sizes of the coordinates that the weight's columns are multiplied by, relative to each other.

        Far from the origin the time coordinate is as long as all space coordinates together, hence ``√in_channels``
        times as long as one of them. ``None`` where no column is for the time.
        """
        if self.time == "hyperplane":
            return None
        sizes = torch.ones(self.in_channels + 1)
        sizes[0] = math.sqrt(self.in_channels)
        return sizes

    def reset_parameters(self) -> None:
        """Draw the weight anew and set bias and scale to their first values."""
        rows, _ = self.weight.shape
        if self.time == "gated":
            nn.init.uniform_(self.weight, -1.0 / math.sqrt(rows), 1.0 / math.sqrt(rows))
        elif self.time == "recomputed":
            nn.init.xavier_uniform_(self.weight, gain=math.sqrt(2.0))
        else:
            # Twice the deviation of PoincareLinear, whose directions are half as long for the same map.
            nn.init.normal_(self.weight, std=2.0 * (2 * self.in_channels * self.out_channels) ** -0.5)
        if self.time != "hyperplane":
            with torch.no_grad():
                self.weight[:, 0] = 0.0
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if self.scale is not None:
            nn.init.constant_(self.scale, math.log(10.0))

    def forward(self, x: Tensor | CSRMatrix, dtype: torch.dtype | None = None) -> Tensor:
        """Map points.

        Args:
            x: Points, shape ``(*, in_channels + 1)``.
            dtype: Type of the results' coordinates, which obey the manifold's equation in it; as ``x`` if left out, and
                float32 for half precision.

        Returns:
            Points, shape ``(*, out_channels + 1)``.
        """
        check_features(x, self.in_channels + 1, "in_channels + 1")
        if self.activation is not None:
            if isinstance(x, CSRMatrix):
                raise TypeError("`x` must be dense for a layer with `activation`, got a CSRMatrix.")
            x = self.activation(x)
        x = dropout(x, self.dropout, self.training)
        manifold, weight = self.manifold, self.weight
        if self.time == "hyperplane":
            v = lorentz_hyperplanes(x, weight, self.bias, manifold.c)
            space = space_from_distances(v, manifold.c)
        else:
            z = at_least_float32(linear(x, weight, self.bias))
            if self.scale is not None:
                return gated_point(z, self._scale_within(self.scale, dtype or z.dtype), manifold.c, dtype)
            space = z
        # Nothing else bounds these two forms: the projection recomputes time and holds the largest radius.
        points = manifold.projx(F.pad(space, (1, 0)))
        return points if dtype in (None, points.dtype) else manifold.from_space(points[..., 1:].to(dtype))

    def _scale_within(self, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """The gate's s as long as points stay within ``max_radius``; mirrored there, it stays on this side.

        Cut off it would have no gradient, and a scale that has gone beyond would not come back.
        """
        cap = self.manifold._cap(dtype)
        reach: float | Tensor
        if isinstance(cap, Tensor):
            reach = (cap.cosh() - OFFSET).clamp_min(torch.finfo(cap.dtype).eps).log()
        else:
            reach = math.log(math.cosh(cap) - OFFSET)
        return torch.minimum(scale, 2.0 * reach - self.manifold.c.log() - scale)

    def extra_repr(self) -> str:
        """Sizes and options that differ from their defaults."""
        parts = [f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}, time={self.time!r}"]
        if self.dropout:
            parts.append(f"dropout={self.dropout}")
        return ", ".join(parts)
