r"""The hyperboloid :math:`\langle x, x\rangle = -x_0^2 + \lVert x_s\rVert^2 = -1/c`, :math:`x_0 > 0`, on plain tensors.

Shapes: points and ambient tangents are ``(*, d + 1)``, time first; space parts are ``(*, d)``. ``dim`` names the axis
of the coordinates, every other axis broadcasts. ``c`` is a positive tensor with no axes, and the sectional curvature
is −c. A ``cap`` is the largest geodesic radius times :math:`\sqrt c` of a result, None for no cap.

# Note [space carries the point]

Time :math:`x_0 = \sqrt{1/c + \lVert x_s\rVert^2}` follows from space, and rounding it moves a point off the manifold
but not along it. So each function reads distances off space parts, never off :math:`x_0 - 1/\sqrt c` or
:math:`-c\langle x, y\rangle - 1`: in float32 these are zero below radius 3e-4. The difference of two times is
:math:`x_0 - y_0 = \frac{(x_s - y_s)\cdot(x_s + y_s)}{x_0 + y_0}`, which does not cancel, and the time part of a
tangent v is :math:`v_0 = x_s\cdot v_s / x_0`, which makes it tangent to rounding.
"""

import math

import torch
from torch import Tensor

from hypersst.manifolds.chord import squared_chord
from hypersst.manifolds.normalized import normalize as normalize
from hypersst.manifolds.radial import radial
from hypersst.manifolds.stable import asinh, bounded, dot, log_ratio, norm, sqrt0


def time_part(x: Tensor, *, dim: int = -1) -> Tensor:
    """Time coordinate, axis kept."""
    return x.narrow(dim, 0, 1)


def space_part(x: Tensor, *, dim: int = -1) -> Tensor:
    """Space coordinates."""
    return x.narrow(dim, 1, x.size(dim) - 1)


def inner(u: Tensor, v: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
    r"""Minkowski product :math:`\langle u, v\rangle = -u_0 v_0 + u_s\cdot v_s` of ambient vectors."""
    uv = u * v
    product: Tensor = space_part(uv, dim=dim).sum(dim=dim, keepdim=True) - time_part(uv, dim=dim)
    return product if keepdim else product.squeeze(dim)


def from_space(
    space: Tensor, c: Tensor, *, cap: float | Tensor | None = None, dim: int = -1, ambient: bool = False
) -> Tensor:
    r"""Point with the given space part, :math:`\bigl(\sqrt{1/c + \lVert s\rVert^2},\; s\bigr)`.

    Args:
        space: Space part, shape ``(*, d)``.
        c: Positive curvature parameter.
        cap: With a cap, space is first shortened to at most :math:`\sinh(\mathrm{cap})/\sqrt c`, and coordinates may be
            as large as floats are.
        dim: Axis of the coordinates.
        ambient: Whether ``space`` has a time coordinate before it, which is ignored.

    Returns:
        Points, shape ``(*, d + 1)``.
    """
    if isinstance(cap, Tensor):
        limit = cap.sinh() / c.sqrt()
        space = bounded(space_part(space, dim=dim) if ambient else space, dim=dim)
        space, cap, ambient = space * (limit / norm(space, dim=dim).clamp_min(limit)), None, False
    longest = None if cap is None else math.sinh(cap)
    return radial(space, c.sqrt(), "length", cap=longest, time_in=ambient, time_out=True, dim=dim)


def tangent_from_space(x: Tensor, space: Tensor, *, dim: int = -1) -> Tensor:
    r"""Tangent vector at x with the given space part: its time part is :math:`x_s\cdot v_s/x_0`."""
    time = dot(space_part(x, dim=dim), space, dim=dim) / time_part(x, dim=dim)
    return torch.cat((time, space), dim=dim)


def expmap0(v: Tensor, c: Tensor, *, cap: float | Tensor | None = None, ambient: bool = False, dim: int = -1) -> Tensor:
    r"""Send a tangent vector at the origin onto the hyperboloid.

    With :math:`r = \sqrt{c}\,\lVert v\rVert` the image is
    :math:`\bigl(\cosh r / \sqrt{c},\; \tfrac{\sinh r}{r}\, v\bigr)`. Its time is what the space part asks for up to
    rounding, as both come from the same rounded r.

    Args:
        v: Space part of the tangent vector, shape ``(*, d)``; its time part is zero.
        c: Positive curvature parameter.
        cap: Longer vectors are shortened to ``r = cap``.
        ambient: Whether ``v`` has its time part in front, shape ``(*, d + 1)``; it is not read.
        dim: Axis of the coordinates.

    Returns:
        Points, shape ``(*, d + 1)``.
    """
    sqrt_c = c.sqrt()
    if isinstance(cap, Tensor):
        v, cap = v * (cap / (sqrt_c * norm(space_part(v, dim=dim) if ambient else v, dim=dim)).clamp_min(cap)), None
    return radial(v, sqrt_c, "sinh", cap=cap, time_in=ambient, time_out=True, dim=dim)


def logmap0(x: Tensor, c: Tensor, *, ambient: bool = False, dim: int = -1) -> Tensor:
    r"""Space part of the tangent vector at the origin that points to x, :math:`\tfrac{\operatorname{asinh} a}{a}\,x_s`.

    Here :math:`a = \sqrt c\,\lVert x_s\rVert`; the time part of the vector is zero, and stands in front of the result,
    shape ``(*, d + 1)``, if ``ambient``. The inverse of :func:`expmap0`.
    """
    return radial(x, c.sqrt(), "asinh", time_in=True, time_out=ambient, dim=dim)


def dist0(x: Tensor, c: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
    r"""Distance from the origin, :math:`\operatorname{asinh}(\sqrt c\,\lVert x_s\rVert)/\sqrt c`."""
    sqrt_c = c.sqrt()
    return asinh(sqrt_c * norm(space_part(x, dim=dim), dim=dim, keepdim=keepdim)) / sqrt_c


def sqdist(x: Tensor, y: Tensor, c: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
    r"""Squared Lorentzian distance :math:`\langle x-y, x-y\rangle = -2/c - 2\langle x, y\rangle`.

    It is :math:`\tfrac4c\sinh^2(\tfrac{\sqrt c}{2}\,d)`, not the squared geodesic distance d². Errors grow as
    eps·cosh(radius), see Note [squared chord]. It can be differentiated once.

    Source: M. Law, R. Liao, J. Snell, R. Zemel, *Lorentzian distance learning for hyperbolic representations*, 2019.
    """
    q = squared_chord(x, y, c, dim=dim)
    return q if keepdim else q.squeeze(dim)


def dist(x: Tensor, y: Tensor, c: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
    r"""Geodesic distance :math:`\tfrac{2}{\sqrt c}\operatorname{asinh}(\tfrac{\sqrt c}{2}\lVert x-y\rVert_L)`.

    The gradient where x = y is defined as zero.
    """
    sqrt_c = c.sqrt()
    return 2 / sqrt_c * asinh(0.5 * sqrt_c * sqrt0(sqdist(x, y, c, dim=dim, keepdim=keepdim)))


def to_rest_frame(x: Tensor, v: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Space part of the tangent v at x after transport to the origin, :math:`v_s - \tfrac{v_0}{x_0 + 1/\sqrt c}x_s`.

    Its shape is ``(*, d)``, and its Euclidean norm is the Riemannian norm of v: a sum of squares, unlike
    :math:`\langle v, v\rangle`.
    """
    xs = space_part(x, dim=dim)
    shear = time_part(v, dim=dim) / (time_part(x, dim=dim) + c.rsqrt())
    return space_part(v, dim=dim) - shear * xs


def tangent_inner(x: Tensor, u: Tensor, v: Tensor | None, c: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
    """Riemannian product of tangent vectors at x, taken in the rest frame of x; ``v=None`` means u."""
    at_rest = to_rest_frame(x, u, c, dim=dim)
    other = at_rest if v is None else to_rest_frame(x, v, c, dim=dim)
    return dot(at_rest, other, dim=dim, keepdim=keepdim)


def expmap(x: Tensor, u: Tensor, c: Tensor, *, cap: float | Tensor | None = None, dim: int = -1) -> Tensor:
    r"""Follow the geodesic from x along u, :math:`\cosh(r)\,x + \tfrac{\sinh r}{r}\,u` with :math:`r = \sqrt c\,|u|`.

    Computed as the boost to x of :math:`p = \exp_0(w)`, where w is u in the rest frame of x: space is
    :math:`p_s + \bigl(\sqrt c\,p_0 + \tfrac{c\,x_s\cdot p_s}{1 + \sqrt c\,x_0}\bigr)x_s`. There a rounding of w moves
    the result as far as it moves p; above, it makes u/r longer or shorter than one, which costs another cosh(radius).

    Only the space part of u is read: its time part is :math:`x_s\cdot u_s/x_0`, and the time of the result is
    recomputed from space. A cap bounds the result, and first the step by twice the cap, which suffices to
    reach any point under the cap from any other.

    Args:
        x: Points, shape ``(*, d + 1)``.
        u: Tangent vectors at x, shape ``(*, d + 1)``.
        c: Positive curvature parameter.
        cap: Largest geodesic radius times :math:`\sqrt c` of the result.
        dim: Axis of the coordinates.

    Returns:
        Points, shape ``(*, d + 1)``.
    """
    xs, us, sqrt_c = space_part(x, dim=dim), space_part(u, dim=dim), c.sqrt()
    gamma = sqrt_c * time_part(x, dim=dim)
    w = us - c * dot(xs, us, dim=dim) / (gamma * (1 + gamma)) * xs
    p = expmap0(w, c, cap=None if cap is None else 2 * cap, dim=dim)
    ps = space_part(p, dim=dim)
    stretch = sqrt_c * time_part(p, dim=dim) + c * dot(xs, ps, dim=dim) / (1 + gamma)
    return from_space(ps + stretch * xs, c, cap=cap, dim=dim)


def logmap(x: Tensor, y: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Tangent vector at x that points to y, :math:`\tfrac{t}{\sinh t}\,(y + c\langle x, y\rangle x)`.

    Here :math:`t = \sqrt c\,d(x, y)`, and with the squared chord q the bracket is :math:`y - x - \tfrac{cq}{2}x`.
    The inverse of :func:`expmap`.
    """
    xs, ys = space_part(x, dim=dim), space_part(y, dim=dim)
    q = squared_chord(x, y, c, dim=dim)
    scale = log_ratio(0.5 * c.sqrt() * sqrt0(q))
    return tangent_from_space(x, scale * (ys - xs - 0.5 * c * q * xs), dim=dim)


def transp(x: Tensor, y: Tensor, v: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Parallel transport from x to y, :math:`v + \tfrac{\langle y, v\rangle}{1/c - \langle x, y\rangle}(x + y)`.

    The numerator is :math:`\langle y - x, v\rangle`, taken in the rest frame of x, where v has no time part and y − x
    the space part :math:`y_s - x_s - \tfrac{\sqrt c(y_0 - x_0) + cq/2}{1 + \sqrt c\,x_0}x_s` with the squared chord q;
    the denominator is 2/c + q/2. So the error is eps·cosh(radius) in the metric, and vanishes with the step.
    """
    xs, ys, sqrt_c = space_part(x, dim=dim), space_part(y, dim=dim), c.sqrt()
    x0, y0 = time_part(x, dim=dim), time_part(y, dim=dim)
    diff, total = ys - xs, xs + ys
    q = squared_chord(x, y, c, dim=dim)
    shear = (sqrt_c * dot(diff, total, dim=dim) / (x0 + y0) + 0.5 * c * q) / (1 + sqrt_c * x0)
    numerator = dot(diff - shear * xs, to_rest_frame(x, v, c, dim=dim), dim=dim)
    return tangent_from_space(y, space_part(v, dim=dim) + numerator / (2 / c + 0.5 * q) * total, dim=dim)


def transp0(y: Tensor, v: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Parallel transport from the origin to y of a tangent vector given by its space part, shape ``(*, d)``.

    The result is :math:`\bigl(\sqrt c\,y_s\cdot v,\; v + \tfrac{\sqrt c\,y_s\cdot v}{1/\sqrt c + y_0}\,y_s\bigr)`.
    """
    ys = space_part(y, dim=dim)
    time = c.sqrt() * dot(ys, v, dim=dim)
    return torch.cat((time, v + time / (c.rsqrt() + time_part(y, dim=dim)) * ys), dim=dim)


def proju(x: Tensor, v: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Project an ambient vector orthogonally onto the tangent space, :math:`v + c\langle x, v\rangle x`."""
    coefficient = c * inner(x, v, dim=dim, keepdim=True)
    return tangent_from_space(x, space_part(v, dim=dim) + coefficient * space_part(x, dim=dim), dim=dim)


def egrad2rgrad(x: Tensor, grad: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    """Riemannian gradient: raise the index (flip the sign of time), then project; ``grad`` is left as it is."""
    xs, gs = space_part(x, dim=dim), space_part(grad, dim=dim)
    # ⟨x, (−g₀, g_s)⟩ is the Euclidean product of x and g.
    return tangent_from_space(x, gs + c * dot(x, grad, dim=dim) * xs, dim=dim)


def centroid(x: Tensor, weight: Tensor | None, c: Tensor) -> Tensor:
    r"""Point with the least weighted sum of squared Lorentzian distances, the normalised sum :math:`\sum_j w_j x_j`.

    The sum is taken in float64, times recomputed, because −⟨s, s⟩ of a rounded sum s has lost cosh²(radius) digits: in
    float32 the centroid of two points at radius 5 would move by 1e-3 and at radius 7 by 7e-2, as :func:`normalize`
    of a float32 sum does; so it moves by 3e-6 and 2e-5.

    Source: M. Law et al., *Lorentzian distance learning for hyperbolic representations*, 2019, theorem 3.3.

    Args:
        x: Points, shape ``(*, n, d + 1)``.
        weight: Non-negative weights, shape ``(*, n)``, of any positive sum; None for equal weights.
        c: Positive curvature parameter.

    Returns:
        Points, shape ``(*, d + 1)``.
    """
    wide = from_space(space_part(x).double(), c.double())
    return normalize(weighted_sum(wide, weight), c.double()).to(x.dtype)


def weighted_sum(x: Tensor, weight: Tensor | None) -> Tensor:
    """Weighted sum over the last axis but one, in full precision under autocast; the mean for ``weight=None``."""
    if weight is None:
        return x.mean(dim=-2)
    with torch.autocast(x.device.type, enabled=False):
        return (weight.to(x.dtype).unsqueeze(-2) @ x).squeeze(-2)
