r"""Adam's update of points of the hyperboloid, in half the operations of the general one.

# Note [step in the rest frame]

Let s = √c and h = x_0 + 1/s. The boost that takes the origin to x takes a vector of time t and space a to one of space

    B(t, a) = a + s (t + x_s·a / h) x_s.

The tangent vectors of space B(0, e_i) form an orthonormal frame at x. In its coordinates the metric is the Euclidean
dot product, and geodesics from x are those from the origin:

* the Riemannian gradient has the coordinates B(g_0, g_s), where g is the Euclidean one;
* a tangent vector has the coordinates m = M_s − (M_0/h) x_s, and conversely M_0 = s x_s·m, M_s = m + (M_0/h) x_s;
* the geodesic along w ends in y, of space B(p_0, p_s), where p = exp_0(w);
* transport from x to y makes M into M + κ (x + y), where κ = ⟨y, M⟩ / (1/c − ⟨x, y⟩) = p_s·m / (1/c + p_0/s).

Where `max_radius` shortens y_s by a factor λ < 1, the new y is λ times the old one but for its time, which is
ω = (1 − λ²)/c / (y_0 + λ y_0^{old}) larger; so ⟨y, M⟩ = λ p_s·m − ω M_0 and −⟨x, y⟩ = λ p_0/s + ω x_0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypersst.manifolds import Lorentz
from hypersst.manifolds.lorentz_math import space_part, time_part
from hypersst.manifolds.stable import dot, norm
from hypersst.optim.adam_rules import AdamSettings, step_scale_

__all__ = ["adam_lorentz_"]


def adam_lorentz_(
    manifold: Lorentz,
    x: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    settings: AdamSettings,
) -> Tensor:
    r"""One step of points on the hyperboloid, equal to `adam_points_`; see Note [step in the rest frame].

    Args:
        manifold: The hyperboloid.
        x: Points, shape ``(*, d + 1)``, in float32 or float64.
        grad: Euclidean gradients in the same shape.
        exp_avg: First moment, tangent at x, updated in place to a tangent vector at the new point.
        exp_avg_sq: Second moment, shape ``(*, 1)``, updated in place.
        max_exp_avg_sq: The largest so far for AMSGrad, updated in place; None without.
        settings: Numbers of the step, the rate in radians.

    Returns:
        New points.
    """
    c, cap = manifold.c.to(x), manifold._cap(x.dtype)
    root, inverse, unit = c.sqrt(), c.reciprocal(), c.rsqrt()
    x0, xs = time_part(x), space_part(x)
    time, space = time_part(exp_avg), space_part(exp_avg)
    height = x0 + unit

    def boost(t: Tensor, a: Tensor) -> Tensor:
        return torch.addcmul(a, torch.addcdiv(t, dot(xs, a), height).mul_(root), xs)

    # Both moments in the frame at x.
    gradient = boost(time_part(grad), space_part(grad))
    m = torch.addcmul(space, time / height, xs, value=-1).lerp_(gradient, 1.0 - settings.betas[0])
    scale = step_scale_(dot(gradient, gradient), exp_avg_sq, max_exp_avg_sq, settings)

    # The point p, for a step of at most twice the cap as in `expmap`, and y.
    r = (norm(m) * scale.abs() * root).clamp_min_(torch.finfo(x.dtype).eps)
    capped = r.clamp_max(2 * cap)
    ps = m * (capped.sinh().div_(r).mul_(scale))
    p0 = capped.cosh_().mul_(unit)
    ys = boost(p0, ps)
    length = norm(ys)
    limit = (cap.sinh() if isinstance(cap, Tensor) else math.sinh(cap)) * unit
    shrink = limit / length.clamp_min(limit)
    far0 = torch.addcmul(inverse, length, length).sqrt_()
    length.mul_(shrink)
    y0 = torch.addcmul(inverse, length, length).sqrt_()
    ys.mul_(shrink)

    # The moment at x, then at y.
    m0 = dot(xs, m).mul_(root)
    late = torch.addcmul(y0, shrink, far0).reciprocal_().mul_((1 - shrink * shrink).mul_(inverse))
    meets = torch.addcmul(shrink * dot(ps, m), late, m0, value=-1)
    kappa = meets / torch.addcmul(inverse, late, x0).addcmul_(shrink, p0 * unit)
    torch.addcmul(m, (m0 / height).add_(kappa), xs, out=m).addcmul_(kappa, ys)
    space.copy_(m)
    torch.div(dot(ys, m), y0, out=time)
    return torch.cat((y0, ys), dim=-1)
