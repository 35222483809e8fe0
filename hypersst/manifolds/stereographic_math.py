r"""The κ-stereographic model on plain tensors: sphere, plane and Poincaré ball as one family.

A sphere (κ > 0), Euclidean space (κ = 0) or hyperbolic space (κ < 0) of sectional curvature κ seen from its south
pole, with the metric :math:`\lambda_x^2\,dx^2`, :math:`\lambda_x = 2/(1 + \kappa\lVert x\rVert^2)`. Points and tangents
are ``(*, d)``; ``dim`` names the axis of the coordinates. ``k`` is κ, a tensor with no axes and of any sign. For κ = −c
every function here is its namesake in `poincare_math`; what is pure algebra is taken from there with c = −κ.

A ``cap`` is :math:`\sqrt{|\kappa|}` times the largest geodesic radius of a result for κ < 0. On a sphere distances end
at :math:`\pi/\sqrt\kappa`, where stereographic coordinates are infinite; there results stay
:math:`2e^{-\mathrm{cap}/2}/\sqrt\kappa` short of it.

Source: Bachmann, Bécigneul and Ganea (2020), *Constant Curvature Graph Convolutional Networks*.
"""

import math

import torch
from torch import Tensor

from hypersst.manifolds.lorentz_math import weighted_sum
from hypersst.manifolds.poincare_math import conformal_gap
from hypersst.manifolds.stable import dot, norm
from hypersst.manifolds.stereographic_trig import asin_ratio, atan_ratio, tan_ratio


def project(x: Tensor, k: Tensor, *, cap: float, dim: int = -1) -> Tensor:
    """Shorten points to the largest norm that ``cap`` allows."""
    angle = math.pi / 2 - math.exp(-0.5 * cap)
    shorter, _ = _within(x, k, -(math.tanh(0.5 * cap) ** 2), math.tan(angle) ** 2, dim)
    return shorter


def expmap0(u: Tensor, k: Tensor, *, cap: float | None = None, dim: int = -1) -> Tensor:
    r"""Send a tangent vector at the origin to :math:`\tan_\kappa(\lVert u\rVert)\,u/\lVert u\rVert`.

    The point lies at geodesic distance 2‖u‖, as on the ball. With a cap, longer vectors are shortened first.
    """
    if cap is None:
        return tan_ratio(k * dot(u, u, dim=dim)) * u
    u, z = _within(u, k, -((0.5 * cap) ** 2), (math.pi / 2 - math.exp(-0.5 * cap)) ** 2, dim)
    return tan_ratio(z) * u


def logmap0(x: Tensor, k: Tensor, *, dim: int = -1) -> Tensor:
    """Logarithm at the origin, the inverse of :func:`expmap0`."""
    return atan_ratio(k * dot(x, x, dim=dim)) * x


def dist(x: Tensor, y: Tensor, k: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
    r"""Geodesic distance :math:`\tfrac{2}{\sqrt\kappa}\arcsin(\sqrt\kappa\,\lVert x-y\rVert/\sqrt{\alpha\beta})`.

    :math:`\alpha = 1 + \kappa\lVert x\rVert^2`, :math:`\beta = 1 + \kappa\lVert y\rVert^2`; asinh for κ < 0 and
    :math:`2\lVert x - y\rVert` for κ = 0. The gradient where x = y is zero.
    """
    diff = x - y
    gaps = conformal_gap(x, -k, dim=dim, keepdim=keepdim) * conformal_gap(y, -k, dim=dim, keepdim=keepdim)
    ratio = asin_ratio(k * dot(diff, diff, dim=dim, keepdim=keepdim) / gaps)
    return 2 * norm(diff, dim=dim, keepdim=keepdim) * gaps.rsqrt() * ratio


def dist0(x: Tensor, k: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
    """Distance from the origin; its gradient there is zero."""
    return 2 * norm(x, dim=dim, keepdim=keepdim) * atan_ratio(k * dot(x, x, dim=dim, keepdim=keepdim))


def mobius_add(x: Tensor, y: Tensor, k: Tensor, *, dim: int = -1) -> Tensor:
    r"""κ-addition :math:`(\alpha s - \kappa\lVert s\rVert^2 x)/(\alpha\beta - \kappa\lVert s\rVert^2)`.

    Here :math:`s = x + y`. See Note [Möbius addition without cancellation] in `poincare_math`. The denominator
    vanishes for antipodes of a sphere, whose sum is the point at infinity; there the result is long and finite.
    """
    total, gap_x = x + y, conformal_gap(x, -k, dim=dim)
    square = k * dot(total, total, dim=dim)
    gaps = gap_x * conformal_gap(y, -k, dim=dim)
    # Relative to its terms: on the sphere both grow without bound towards infinity.
    denominator = torch.maximum(gaps - square, torch.finfo(x.dtype).eps * gaps)
    return (gap_x * total - square * x) / denominator


def expmap(x: Tensor, u: Tensor, k: Tensor, *, cap: float | None = None, dim: int = -1) -> Tensor:
    r"""Follow the geodesic from x along u, :math:`x \oplus \tan_\kappa(\tfrac{\lambda_x}{2}\lVert u\rVert)\,\hat u`.

    With a cap a step on a sphere ends where the antipode of x begins, and does not go round.
    """
    y = expmap0(u / conformal_gap(x, -k, dim=dim), k, cap=None if cap is None else 2 * cap, dim=dim)
    result = mobius_add(x, y, k, dim=dim)
    return result if cap is None else project(result, k, cap=cap, dim=dim)


def logmap(x: Tensor, y: Tensor, k: Tensor, *, dim: int = -1) -> Tensor:
    r"""Tangent vector at x that points to y and is as long as their distance.

    :math:`\tfrac{\arcsin\sqrt w}{\sqrt{w(1 - w)}}\,\tfrac1\beta(\alpha\Delta + \kappa\lVert\Delta\rVert^2 x)` with
    :math:`\Delta = y - x` and :math:`w = \kappa\lVert\Delta\rVert^2/\alpha\beta`; α and β as in :func:`dist`.
    """
    gap_x, gap_y = conformal_gap(x, -k, dim=dim), conformal_gap(y, -k, dim=dim)
    diff = y - x
    square = k * dot(diff, diff, dim=dim)
    w = square / (gap_x * gap_y)
    scale = asin_ratio(w) * (1 - w).clamp_min(torch.finfo(w.dtype).eps).rsqrt() / gap_y
    return scale * (gap_x * diff + square * x)


def to_sphere(x: Tensor, k: Tensor) -> Tensor:
    r"""Homogeneous coordinates :math:`(\lambda_x - 1,\; \lambda_x x)`, shape ``(*, d + 1)``.

    :math:`\sqrt{|\kappa|}` times time and space of the point on the sphere or hyperboloid over x (space without that
    factor), :math:`(1, 2x)` for κ = 0; :math:`s_0^2 + \kappa\lVert s\rVert^2 = 1` throughout. Sums of them are what
    midpoints are made of.
    """
    gap = conformal_gap(x, -k)
    return torch.cat(((2 - gap) / gap, 2 / gap * x), dim=-1)


def from_sphere(s: Tensor, k: Tensor) -> Tensor:
    r"""Point under homogeneous coordinates of any scale, :math:`s_s/(s_0 + \sqrt{s_0^2 + \kappa\lVert s_s\rVert^2})`.

    Halving :math:`s_s/s_0` in the sense of :math:`\tfrac12\otimes_\kappa` gives this, without a case for the sign
    of κ or :math:`s_0`; so :func:`to_sphere`, a weighted sum and this function are the gyromidpoint. Zero, the
    empty sum, goes to the origin.
    """
    time, space = s[..., :1], s[..., 1:]
    guard = torch.finfo(s.dtype).tiny ** 0.5
    proper = (time.square() + k * dot(space, space)).clamp_min(guard).sqrt()
    return space / (time + proper).clamp_min(guard)


def midpoint(x: Tensor, weight: Tensor | None, k: Tensor) -> Tensor:
    r"""Gyromidpoint :math:`\tfrac12\otimes_\kappa \sum_j w_j\lambda_j x_j\big/\sum_j w_j(\lambda_j - 1)`.

    Source: Bachmann, Bécigneul and Ganea (2020). In float64, for the reason `lorentz_math.centroid` gives.

    Args:
        x: Points, shape ``(*, n, d)``.
        weight: Non-negative weights, shape ``(*, n)``; None for equal ones.
        k: Sectional curvature.

    Returns:
        Points, shape ``(*, d)``.
    """
    wide = k.double()
    return from_sphere(weighted_sum(to_sphere(x.double(), wide), weight), wide).to(x.dtype)


def _within(x: Tensor, k: Tensor, low: float, high: float, dim: int) -> tuple[Tensor, Tensor]:
    """Shorten x so that κ|x|² lies between ``low`` and ``high``; x and that product."""
    z = k * dot(x, x, dim=dim)
    inside = z.clamp(low, high)
    # The quotient is taken only where the clamp acts, that is, where z is not small.
    outside = z != inside
    shrink = torch.where(outside, inside.abs(), 1.0).sqrt() * torch.where(outside, z.abs(), 1.0).rsqrt()
    return shrink * x, inside
