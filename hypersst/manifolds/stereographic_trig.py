r"""Trigonometry that passes smoothly from the sphere through the plane to hyperbolic space.

# Note [entire in the curvature]

Each map of the κ-stereographic model needs :math:`\tan_\kappa(r)/r` and the like, which is :math:`\tan` for κ > 0 and
:math:`\tanh` for κ < 0. As functions of :math:`z = \kappa r^2` the two are one analytic function,

    T(z) = tan(√z)/√z = tanh(√−z)/√−z = 1 + z/3 + 2z²/15 + …,

so that neither value nor gradient knows a border at κ = 0. Both closed forms are right in value for every z ≠ 0, but
their derivatives lose a factor 1/|z| in precision; within |z| < 0.02 a Taylor polynomial, right to rounding in
float64, takes over.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor

_SERIES_BELOW = 0.02


def _tan_coefficients(n: int) -> list[float]:
    # From t' = 1 + t²: (2k + 1) a_k is the sum of a_i a_j over i + j = k − 1.
    a = [Fraction(1)]
    for k in range(1, n):
        a.append(sum((a[i] * a[k - 1 - i] for i in range(k)), Fraction(0)) / (2 * k + 1))
    return [float(q) for q in a]


def _asin_coefficients(n: int) -> list[float]:
    a = [Fraction(1)]
    for k in range(1, n):
        a.append(a[-1] * Fraction((2 * k - 1) ** 2, 2 * k * (2 * k + 1)))
    return [float(q) for q in a]


# The first neglected term at the border: 0.02¹⁰ = 1e-17.
_TAN = _tan_coefficients(10)
_ATAN = [(-1.0) ** k / (2 * k + 1) for k in range(10)]
_ASIN = _asin_coefficients(10)


def tan_ratio(z: Tensor) -> Tensor:
    r""":math:`\tan(\sqrt z)/\sqrt z` for 0 ≤ z < π²/4 and :math:`\tanh(\sqrt{-z})/\sqrt{-z}` for z ≤ 0."""
    return _pieces(z, _TAN, lambda r: r.tan() / r, lambda r: r.tanh() / r)


def atan_ratio(z: Tensor) -> Tensor:
    r""":math:`\arctan(\sqrt z)/\sqrt z` for z ≥ 0 and :math:`\operatorname{artanh}(\sqrt{-z})/\sqrt{-z}` below.

    Arguments from −1 downwards give the value just above −1.
    """
    limit = 1 - torch.finfo(z.dtype).eps
    return _pieces(z, _ATAN, lambda r: r.atan() / r, lambda r: r.clamp_max(limit).atanh() / r.clamp_max(limit))


def asin_ratio(z: Tensor) -> Tensor:
    r""":math:`\arcsin(\sqrt z)/\sqrt z` for 0 ≤ z ≤ 1 and :math:`\operatorname{asinh}(\sqrt{-z})/\sqrt{-z}` below.

    Arguments from 1 upwards, which belong to no pair of points, give the value just below 1, with zero gradient.
    """
    limit = 1 - torch.finfo(z.dtype).eps
    return _pieces(z, _ASIN, lambda r: r.clamp_max(limit).asin() / r.clamp_max(limit), lambda r: r.asinh() / r)


def _pieces(
    z: Tensor, series: Sequence[float], positive: Callable[[Tensor], Tensor], negative: Callable[[Tensor], Tensor]
) -> Tensor:
    """Choose by the sign of z; each branch sees an argument at which it is finite, so that no gradient is NaN."""
    small = z.abs() < _SERIES_BELOW
    r = torch.where(small, _SERIES_BELOW, z.abs()).sqrt()
    near = torch.where(small, z, 0.0)
    polynomial = torch.full_like(near, series[-1])
    for coefficient in reversed(series[:-1]):
        polynomial = polynomial * near + coefficient
    # tan of a hyperbolic argument may meet a pole; the clamp keeps the unused branch away from it.
    above = positive(torch.where(z > 0, r, _SERIES_BELOW**0.5))
    return torch.where(small, polynomial, torch.where(z > 0, above, negative(r)))
