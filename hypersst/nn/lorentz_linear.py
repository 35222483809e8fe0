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
from hypersst.nn.hyperplane import lorentz_hyperplanes, space_from_distances
from hypersst.nn.manifold_argument import as_lorentz
from hypersst.nn.shapes import check_channels, check_features, check_probability
from hypersst.nn.sparse import CSRMatrix, dropout, linear

__all__ = ["LorentzLinear", "gated_point"]

_FORMS = ("gated", "recomputed", "hyperplane")


def gated_point(z: Tensor, log_scale: Tensor, c: Tensor) -> Tensor:
    r"""Read a vector as a point: its first entry says how far, the others in which direction.

    .. math::
        t = e^s\,\sigma(z_0) + \tfrac{1.1}{\sqrt c}, \qquad
        y_s = z_s \sqrt{\frac{t^2 - 1/c}{\max(\lVert z_s\rVert^2, 10^{-8})}}, \qquad y = (t, y_s)

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, as in the authors' code. Two departures:
    the offset is 1.1 there, which is no point for :math:`c \le 0.82`; and where :math:`z_s` is so short that
    the guard acts, the time is taken from :math:`y_s`, so that zero features give the origin and not a vector
    beside the manifold.

    Args:
        z: Shape ``(*, d + 1)``.
        log_scale: The scalar :math:`s`.
        c: Positive curvature parameter, a scalar.

    Returns:
        Points with :math:`\langle y, y\rangle = -1/c`, shape ``(*, d + 1)``.
    """
    # split rather than slices: its backward is one concatenation.
    gate, direction = z.split((1, z.shape[-1] - 1), dim=-1)
    time = log_scale.exp() * gate.sigmoid() + 1.1 / c.sqrt()
    sq = direction.square().sum(dim=-1, keepdim=True)
    factor = (time.square() - 1.0 / c) / sq.clamp_min(1e-8)
    return torch.cat(((1.0 / c + factor * sq).sqrt(), direction * factor.sqrt()), dim=-1)


class LorentzLinear(nn.Module):
    r"""Map Lorentz points with ``in_channels`` to points with ``out_channels`` intrinsic dimensions.

    All three forms multiply by one Euclidean ``weight`` and end on the hyperboloid by construction. With
    :math:`\phi` the activation and dropout on the ambient vector and :math:`W` the weight,

    - ``"gated"`` (HyboNet): :math:`z = W\phi(x) + b` with :math:`W` of shape ``(out + 1, in + 1)``; the first
      entry of :math:`z` sets the time through a sigmoid, the others the direction (`gated_point`). Points stay
      within :math:`\operatorname{arcosh}(\sqrt c\,e^s + 1.1)/\sqrt c` of the origin, :math:`s` being learned.
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

    def forward(self, x: Tensor | CSRMatrix) -> Tensor:
        """Map points ``x``, shape ``(*, in_channels + 1)``, to points of shape ``(*, out_channels + 1)``."""
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
                return gated_point(z, self.scale, manifold.c)
            space = z
        # Nothing else bounds these two forms: the projection recomputes time and holds the largest radius.
        return manifold.projx(F.pad(space, (1, 0)))

    def extra_repr(self) -> str:
        """Sizes and options that differ from their defaults."""
        parts = [f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}, time={self.time!r}"]
        if self.dropout:
            parts.append(f"dropout={self.dropout}")
        return ", ".join(parts)
