r"""The Poincaré ball :math:`\sqrt c\,\lVert x\rVert < 1` with the metric :math:`\lambda_x^2\,dx^2`, on plain tensors.

:math:`\lambda_x = 2/(1 - c\lVert x\rVert^2)` is 2 at the origin, so ``expmap0(u)`` lies at geodesic distance 2‖u‖:
geoopt's (and everybody's) convention, kept here. Shapes: points and tangents are ``(*, d)``; ``dim`` names the axis of
the coordinates, every other axis broadcasts. ``c`` is a positive tensor with no axes, the sectional curvature −c.
A ``cap`` is the largest geodesic radius times :math:`\sqrt c` of a result, None for no cap.

# Note [Möbius addition without cancellation]

With s = x + y, α = 1 − c|x|² and β = 1 − c|y|², expanding the products shows

    x ⊕ y = (α s + c|s|² x) / (c|s|² + αβ).

The usual denominator 1 + 2c x·y + c²|x|²|y|² is about α² for y ≈ −x near the border and loses all digits there;
the new one is a sum of positive terms. Everything below follows from it: |x ⊕ y|² = |s|²/(c|s|² + αβ), so the
distance is 2/√c · asinh(√c|x − y|/√(αβ)), see `half_chord`, and logarithm, transport and hyperplane distances need
no artanh near one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hypersst.manifolds.half_chord import half_chord
from hypersst.manifolds.isometry import poincare_to_lorentz
from hypersst.manifolds.lorentz_math import space_part, time_part, weighted_sum
from hypersst.manifolds.radial import radial
from hypersst.manifolds.stable import asinh, dot, log_ratio, norm


def conformal_gap(x: Tensor, c: Tensor, *, dim: int = -1, keepdim: bool = True) -> Tensor:
    r""":math:`1 - c\lVert x\rVert^2 = 2/\lambda_x`, at least the machine epsilon."""
    return (1 - c * dot(x, x, dim=dim, keepdim=keepdim)).clamp_min(torch.finfo(x.dtype).eps)


def project(x: Tensor, c: Tensor, *, cap: float | Tensor, dim: int = -1) -> Tensor:
    r"""Shorten points to norm at most :math:`\tanh(\mathrm{cap}/2)/\sqrt c`."""
    limit = ((0.5 * cap).tanh() if isinstance(cap, Tensor) else math.tanh(0.5 * cap)) / c.sqrt()
    return x * (limit / norm(x, dim=dim).clamp_min(limit))


def expmap0(u: Tensor, c: Tensor, *, cap: float | Tensor | None = None, dim: int = -1) -> Tensor:
    r"""Send a tangent vector at the origin to :math:`\tfrac{\tanh r}{r}\,u` with :math:`r = \sqrt c\,|u|`."""
    sqrt_c = c.sqrt()
    if isinstance(cap, Tensor):
        u, cap = u * (0.5 * cap / (sqrt_c * norm(u, dim=dim)).clamp_min(0.5 * cap)), None
    return radial(u, sqrt_c, "tanh", cap=None if cap is None else 0.5 * cap, dim=dim)


def logmap0(x: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Logarithm at the origin, :math:`\tfrac{\operatorname{artanh} r}{r}\,x` with :math:`r = \sqrt c\,|x|`."""
    return radial(x, c.sqrt(), "artanh", dim=dim)


def dist0(x: Tensor, c: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
    r"""Distance from the origin, :math:`\tfrac{2}{\sqrt c}\operatorname{artanh}(\sqrt c\,\lVert x\rVert)`."""
    sqrt_c = c.sqrt()
    r = sqrt_c * norm(x, dim=dim, keepdim=keepdim)
    return 2 / sqrt_c * r.clamp_max(1 - torch.finfo(r.dtype).eps).atanh()


def dist(x: Tensor, y: Tensor, c: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
    r"""Geodesic distance :math:`\tfrac{2}{\sqrt c}\operatorname{asinh}(\sqrt c\,\lVert x-y\rVert/\sqrt{\alpha\beta})`.

    See Note [Möbius addition without cancellation] for α and β. The gradient where x = y is defined as zero.
    """
    z = half_chord(x, y, c, dim=dim)
    return 2 / c.sqrt() * asinh(z if keepdim else z.squeeze(dim))


def mobius_add(x: Tensor, y: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    """Möbius addition x ⊕ y, see Note [Möbius addition without cancellation]."""
    return _add(x, y, conformal_gap(y, c, dim=dim), c, dim)


def _add(x: Tensor, y: Tensor, gap_y: Tensor, c: Tensor, dim: int) -> Tensor:
    total, gap_x = x + y, conformal_gap(x, c, dim=dim)
    square = c * dot(total, total, dim=dim)
    # The clamp acts only on antipodes that have rounded onto the border.
    return (gap_x * total + square * x) / (square + gap_x * gap_y).clamp_min(torch.finfo(total.dtype).tiny)


def mobius_coadd(x: Tensor, y: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Möbius coaddition :math:`(\beta x + \alpha y) / (\alpha + \beta - \alpha\beta)`; the note above has α and β."""
    gap_x, gap_y = conformal_gap(x, c, dim=dim), conformal_gap(y, c, dim=dim)
    return (gap_y * x + gap_x * y) / (gap_x + gap_y - gap_x * gap_y)


def expmap(x: Tensor, u: Tensor, c: Tensor, *, cap: float | Tensor | None = None, dim: int = -1) -> Tensor:
    r"""Follow the geodesic from x along u, :math:`x \oplus \tfrac{\tanh r}{r}\tfrac{\lambda_x}{2}u`.

    Here :math:`r = \tfrac{\lambda_x}{2}\sqrt c\,|u|`. A cap bounds the result, and first the step by twice the cap,
    which suffices to reach any point under the cap from any other.
    """
    gap = conformal_gap(x, c, dim=dim)
    r = (c.sqrt() * norm(u, dim=dim) / gap).clamp_min(torch.finfo(u.dtype).eps)
    step = r if cap is None else r.clamp_max(cap)
    y = step.tanh() / r / gap * u
    # 1 − tanh² = 1/cosh², without its cancellation.
    result = _add(x, y, step.cosh().square().reciprocal(), c, dim)
    return result if cap is None else project(result, c, cap=cap, dim=dim)


def logmap(x: Tensor, y: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Tangent vector at x that points to y, :math:`\tfrac{t}{\beta\sinh t}(\alpha\Delta - c\lVert\Delta\rVert^2 x)`.

    Here :math:`\Delta = y - x` and :math:`t = \sqrt c\,d(x, y)`; for α and β see
    Note [Möbius addition without cancellation].
    """
    gap_x, gap_y = conformal_gap(x, c, dim=dim), conformal_gap(y, c, dim=dim)
    diff = y - x
    length = c.sqrt() * norm(diff, dim=dim)
    scale = log_ratio(length * (gap_x * gap_y).rsqrt()) / gap_y
    return scale * (gap_x * diff - length.square() * x)


def transp(x: Tensor, y: Tensor, v: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Parallel transport from x to y, :math:`\tfrac{\lambda_x}{\lambda_y}\operatorname{gyr}[y, -x]\,v`.

    With Δ = y − x and α, β as in Note [Möbius addition without cancellation], the gyration is

        v + 2c ((α Δ·v − c|Δ|² x·v) x − ((β + c|Δ|²) x·v + (1 − α) Δ·v) Δ) / (c|Δ|² + αβ),

    Ungar's closed form with every difference of order Δ made explicit.
    """
    gap_x, gap_y = conformal_gap(x, c, dim=dim), conformal_gap(y, c, dim=dim)
    diff = y - x
    square = c * dot(diff, diff, dim=dim)
    xv, diff_v = dot(x, v, dim=dim), dot(diff, v, dim=dim)
    along_x = gap_x * diff_v - square * xv
    along_diff = (gap_y + square) * xv + (1 - gap_x) * diff_v
    turned = v + 2 * c / (square + gap_x * gap_y) * (along_x * x - along_diff * diff)
    return gap_y / gap_x * turned


def dist2plane(
    x: Tensor, p: Tensor, a: Tensor, c: Tensor, *, dim: int = -1, keepdim: bool = False, signed: bool = False
) -> Tensor:
    r"""Distance from x to the hyperplane through p with normal a.

    :math:`\tfrac1{\sqrt c}\operatorname{asinh}\tfrac{2\sqrt c\,(\alpha\Delta - c|\Delta|^2 p)\cdot a}{\alpha\beta|a|}`
    with Δ = x − p, α = 1 − c|p|² and β = 1 − c|x|².

    Source: O. Ganea, G. Bécigneul, T. Hofmann, *Hyperbolic neural networks*, 2018, eq. 24.
    """
    gap_p = conformal_gap(p, c, dim=dim, keepdim=keepdim)
    gap_x = conformal_gap(x, c, dim=dim, keepdim=keepdim)
    diff, sqrt_c = x - p, c.sqrt()
    square = c * dot(diff, diff, dim=dim, keepdim=keepdim)
    height = gap_p * dot(diff, a, dim=dim, keepdim=keepdim) - square * dot(p, a, dim=dim, keepdim=keepdim)
    length = norm(a, dim=dim, keepdim=keepdim).clamp_min(torch.finfo(a.dtype).tiny)
    distance = (2 * sqrt_c * height / (gap_p * gap_x * length)).asinh() / sqrt_c
    return distance if signed else distance.abs()


def midpoint(x: Tensor, weight: Tensor | None, c: Tensor) -> Tensor:
    r"""Gyromidpoint :math:`\tfrac12 \otimes \sum_j w_j\lambda_j x_j \big/ \sum_j w_j(\lambda_j - 1)`.

    The Lorentz centroid, seen in the ball: :math:`(\lambda - 1,\, \sqrt c\,\lambda x)` is :math:`\sqrt c` times the
    Lorentz point of x, so the quotient is space over time of their sum s, and halving it gives
    :math:`s_s / \bigl(\sqrt c\,(s_0 + \sqrt{s_0^2 - |s_s|^2})\bigr)`.

    Source: A. Ungar, *A gyrovector space approach to hyperbolic geometry*, 2009.

    Args:
        x: Points, shape ``(*, n, d)``.
        weight: Non-negative weights, shape ``(*, n)``, of any positive sum; None for equal weights.
        c: Positive curvature parameter.

    Returns:
        Points, shape ``(*, d)``.
    """
    # In float64, for the reason that lorentz_math.centroid gives.
    dtype, c = x.dtype, c.double()
    s = weighted_sum(poincare_to_lorentz(x.double(), c), weight)
    time, space = time_part(s), space_part(s)
    length = norm(space)
    guard = torch.finfo(s.dtype).tiny
    proper = ((time - length) * (time + length)).clamp_min(guard).sqrt()
    return (space / (c.sqrt() * (time + proper))).to(dtype)


def weighted_midpoint(
    x: Tensor,
    weight: Tensor | None,
    c: Tensor,
    *,
    reducedim: Sequence[int] | None = None,
    dim: int = -1,
    lincomb: bool = False,
    posweight: bool = False,
) -> Tensor:
    """Gyromidpoint with geoopt's arguments: :func:`midpoint` over any axes, weights of any sign.

    Args:
        x: Points, coordinates on axis ``dim``.
        weight: Weights that broadcast against the shape of ``x`` without ``dim``; None for equal ones.
        c: Positive curvature parameter.
        reducedim: Axes to average over, by default all but ``dim``.
        dim: Axis of the coordinates.
        lincomb: Scale the midpoint by the sum of the weights, which makes it a linear combination.
        posweight: Read a negative weight of x as a positive one of −x.

    Returns:
        Points with all axes kept, those of ``reducedim`` with length one.
    """
    axes = reduced_axes(x.dim(), reducedim, dim)
    # In float64, for the reason that lorentz_math.centroid gives.
    dtype, x, c = x.dtype, x.double(), c.double()
    gap = conformal_gap(x, c, dim=dim)
    w = torch.ones_like(gap) if weight is None else weight.to(x.dtype).unsqueeze(dim).expand_as(gap)
    if posweight:
        x, w = torch.where(w < 0, -x, x), w.abs()
    time = (w * (2 - gap) / gap).sum(axes, keepdim=True)
    space = c.sqrt() * (w * 2 / gap * x).sum(axes, keepdim=True)
    length = norm(space, dim=dim)
    proper = ((time - length) * (time + length)).clamp_min(torch.finfo(x.dtype).tiny).sqrt()
    mean = space / (c.sqrt() * (time + torch.where(time < 0, -proper, proper)))
    if lincomb:
        mean = expmap0(w.sum(axes, keepdim=True) * logmap0(mean, c, dim=dim), c, dim=dim)
    return mean.to(dtype)


def reduced_axes(ndim: int, reducedim: Sequence[int] | None, dim: int) -> tuple[int, ...]:
    """Axes to average over, by default all but that of the coordinates."""
    if reducedim is not None:
        return tuple(axis % ndim for axis in reducedim)
    return tuple(axis for axis in range(ndim) if axis != dim % ndim)
