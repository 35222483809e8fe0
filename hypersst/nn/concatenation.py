r"""Concatenation of points and its inverse.

Two forms, on either model. *Direct*: the space parts of the Lorentz points are put side by side and time is
recomputed. *Beta*: the tangent vectors at the origin are, each scaled such that in high dimensions lengths neither
grow nor shrink on average,

.. math:: v = \bigl(\tfrac{\beta_n}{\beta_{n_1}} v_1, \dots, \tfrac{\beta_n}{\beta_{n_k}} v_k\bigr), \qquad
    \beta_n = B\bigl(\tfrac n2, \tfrac12\bigr), \qquad n = \textstyle\sum_i n_i.

Results stay within the manifold's largest radius; points that would leave it are shortened and do not come back when
split.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import geoopt
import torch
from torch import Tensor, nn

from hypersst.errors import unknown
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn.chart import check_intrinsic, from_chart, to_chart
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.shapes import check_channels

__all__ = ["HyperbolicConcat", "HyperbolicSplit", "concatenate", "split"]

_CHART = {"direct": "space", "beta": "tangent"}


def concatenate(points: Sequence[Tensor], manifold: Lorentz | PoincareBall, form: str = "direct") -> Tensor:
    """Put points side by side, see the head of this file.

    Sources: Qu and Zou (2022), *Lorentzian Fully Hyperbolic Generative Adversarial Network*, for the direct form;
    Shimizu, Mukuta and Harada (2021), *Hyperbolic Neural Networks++*, for the other.

    Args:
        points: Points with :math:`n_i` intrinsic dimensions, equal in all other axes.
        manifold: Where they, and the result, lie.
        form: ``"direct"`` or ``"beta"``.

    Returns:
        Points with the sum of the dimensions.

    Raises:
        ValueError: If there are no points or ``form`` is unknown.

    Example:
        >>> x, y = torch.tensor([1.25, 0.75]), torch.tensor([1.25, -0.75])
        >>> concatenate([x, y], Lorentz())
        tensor([ 1.4577,  0.7500, -0.7500])
    """
    chart = _chart_of(form)
    if not points:
        raise ValueError("`points` must hold at least one tensor, got none.")
    parts = [to_chart(x, manifold, chart) for x in points]
    if form == "beta":
        beta = _beta(sum(v.shape[-1] for v in parts))
        parts = [beta / _beta(v.shape[-1]) * v for v in parts]
    return from_chart(torch.cat(parts, dim=-1), manifold, chart)


def split(
    x: Tensor, sizes: Sequence[int], manifold: Lorentz | PoincareBall, form: str = "direct"
) -> tuple[Tensor, ...]:
    """Take points apart: the inverse of `concatenate`.

    Args:
        x: Points with n intrinsic dimensions.
        sizes: Intrinsic dimensions of the parts; they sum to n.
        manifold: Where the points and their parts lie.
        form: ``"direct"`` or ``"beta"``.

    Returns:
        As many points as there are sizes, equal to ``x`` in all axes but the last.

    Raises:
        ValueError: If a size is not positive, they do not sum to n, or ``form`` is unknown.

    Example:
        >>> [part.tolist() for part in split(torch.tensor([1.5, 0.75, 0.0, 0.0]), [1, 2], Lorentz())]
        [[1.25, 0.75], [1.0, 0.0, 0.0]]
    """
    chart = _chart_of(form)
    _check_sizes(sizes)
    check_intrinsic(x, sum(sizes), manifold, "sum(sizes)")
    v = to_chart(x, manifold, chart)
    parts = v.split(list(sizes), dim=-1)
    if form == "beta":
        beta = _beta(v.shape[-1])
        parts = tuple(_beta(part.shape[-1]) / beta * part for part in parts)
    return tuple(from_chart(part, manifold, chart) for part in parts)


class HyperbolicConcat(nn.Module):
    r"""Put points side by side: their space parts (``"direct"``) or their scaled tangent vectors (``"beta"``).

    .. math::
        y_s = (x^1_s, \dots, x^k_s) \qquad\text{or}\qquad
        \log_0 y = \bigl(\tfrac{\beta_n}{\beta_{n_1}} \log_0 x^1, \dots, \tfrac{\beta_n}{\beta_{n_k}} \log_0 x^k\bigr)

    Here :math:`\beta_n = B(n/2, 1/2)` and :math:`n = \sum_i n_i`; the function is `hypersst.nn.concatenate`.

    Sources: Qu and Zou (2022), *Lorentzian Fully Hyperbolic Generative Adversarial Network*, for ``"direct"``;
    Shimizu, Mukuta and Harada (2021), *Hyperbolic Neural Networks++*, for ``"beta"``. Each is offered on both models.

    Use: to join features or heads; ``"direct"`` is cheap, ``"beta"`` keeps radii where many parts are joined.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes.

    Args:
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        form: ``"direct"`` or ``"beta"``.

    Shapes:
        - inputs: ``(*, n_i)`` on the ball, ``(*, n_i + 1)`` on the Lorentz manifold;
        - output: ``(*, n)`` or ``(*, n + 1)``.

    Raises:
        ValueError: If ``form`` is unknown.

    Example:
        >>> HyperbolicConcat()(torch.zeros(5, 2), torch.zeros(5, 3)).shape
        torch.Size([5, 5])
    """

    def __init__(self, *, manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None, form: str = "direct") -> None:
        super().__init__()
        _chart_of(form)
        self.manifold = as_hyperbolic(manifold)
        self.form = form

    def forward(self, *points: Tensor) -> Tensor:
        """Join ``points``, shapes ``(*, ambient n_i)``, to points of shape ``(*, ambient n)``."""
        return concatenate(points, self.manifold, self.form)

    def extra_repr(self) -> str:
        """The form."""
        return f"form={self.form!r}"


class HyperbolicSplit(nn.Module):
    r"""Take points apart, the inverse of `HyperbolicConcat`.

    .. math::
        (y^1_s, \dots, y^k_s) = x_s \qquad\text{or}\qquad
        \bigl(\tfrac{\beta_n}{\beta_{n_1}} \log_0 y^1, \dots, \tfrac{\beta_n}{\beta_{n_k}} \log_0 y^k\bigr) = \log_0 x

    Here :math:`\beta_n = B(n/2, 1/2)` and :math:`n = \sum_i n_i`; the function is `hypersst.nn.split`.

    Sources: Qu and Zou (2022), *Lorentzian Fully Hyperbolic Generative Adversarial Network*, for ``"direct"``;
    Shimizu, Mukuta and Harada (2021), *Hyperbolic Neural Networks++*, for ``"beta"``. Each is offered on both models.

    Use: to make heads or several features of one.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes.

    Args:
        split_sizes: Intrinsic dimensions :math:`n_i` of the parts.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        form: ``"direct"`` or ``"beta"``.

    Shapes:
        - input: ``(*, n)`` on the ball, ``(*, n + 1)`` on the Lorentz manifold;
        - output: a tuple of ``(*, n_i)`` or ``(*, n_i + 1)``.

    Raises:
        ValueError: If a size is not positive or ``form`` is unknown.

    Example:
        >>> [part.shape[-1] for part in HyperbolicSplit([2, 3])(torch.zeros(4, 5))]
        [2, 3]
    """

    def __init__(
        self,
        split_sizes: Sequence[int],
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        form: str = "direct",
    ) -> None:
        super().__init__()
        _chart_of(form)
        _check_sizes(split_sizes)
        self.split_sizes = tuple(split_sizes)
        self.manifold = as_hyperbolic(manifold)
        self.form = form

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Take apart points ``x``, shape ``(*, ambient n)``."""
        return split(x, self.split_sizes, self.manifold, self.form)

    def extra_repr(self) -> str:
        """Sizes and form."""
        return f"{list(self.split_sizes)}, form={self.form!r}"


def _beta(n: int) -> float:
    """The beta function at (n/2, 1/2)."""
    return math.exp(math.lgamma(0.5 * n) + math.lgamma(0.5) - math.lgamma(0.5 * (n + 1)))


def _chart_of(form: str) -> str:
    if form not in _CHART:
        raise unknown("form", form, _CHART)
    return _CHART[form]


def _check_sizes(sizes: Sequence[int]) -> None:
    if not sizes:
        raise ValueError("`sizes` must hold at least one size, got none.")
    for size in sizes:
        check_channels(sizes=size)
