r"""Radial maps :math:`v \mapsto f(k\lVert v\rVert)\,v`: exponential maps, logarithms and projections at the origin.

# Note [radial maps]

With r = k|v|, y = f(r) v, and cotangents g of y and g_0 of the time t = h(r)/k where a map has one, the gradients are

    ∂v = f g + (k² s (g·v) + k p g_0) v,   ∂k = k|v|² s (g·v) + (r² p − h) g_0/k²,   s = f'(r)/r,  p = h'(r)/r,

one pass over the rows forward and two backward, where autograd makes nine. The slope s is a quotient of differences
such as (cosh r − sinh(r)/r)/r². Its absolute error is eps/r², and it multiplies a term of size r² that is added
to f g, so no series is needed; r is kept at least the machine epsilon, for which see Note [ratios at zero]. Second
derivatives, by the reverse mode only, do carry an error of eps/r: in float32 they are a third noise at r = 1e-6.

The numbers f, s, h and p of each row are results of the forward pass. Where autograd records the backward pass, they
are computed again from v and k.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hypersst.manifolds.rows import combined, kept_by_row, row_dot
from hypersst.manifolds.stable import asinh, bounded, norm
from hypersst.tracing import leave_undefined

__all__ = ["radial"]


def radial(
    x: Tensor,
    k: Tensor,
    profile: str,
    *,
    cap: float | None = None,
    time_in: bool = False,
    time_out: bool = False,
    dim: int = -1,
) -> Tensor:
    r"""Scale vectors by a function of their length, see Note [radial maps].

    Args:
        x: Vectors v, shape ``(*, d)``; with ``time_in`` behind a coordinate that is ignored, shape ``(*, d + 1)``.
        k: Positive factor of their length, a tensor with no axes: :math:`\sqrt c`.
        profile: ``"sinh"``, ``"asinh"``, ``"tanh"`` or ``"artanh"``: f is that function of r, over r. Or ``"length"``:
            f is 1, and with a cap :math:`\min(r, \mathrm{cap})/r`; coordinates so large that their squares would
            overflow count as smaller.
        cap: Largest argument of the ``"sinh"`` or ``"tanh"``, largest ``"length"``; no cap if None.
        time_in: Whether the vectors have a first coordinate that is their time.
        time_out: Whether results shall: :math:`\cosh(r)/k` for ``"sinh"``, zero for ``"asinh"``,
            :math:`\sqrt{1 + \min(r, \mathrm{cap})^2}/k` for ``"length"``.
        dim: Axis of the coordinates.

    Returns:
        :math:`f(r)\,v`, shape ``(*, d)`` or ``(*, d + 1)``.
    """
    y: Tensor = _Radial.apply(x, k, profile, cap, time_in, time_out, dim)[0]
    return y


class _Radial(torch.autograd.Function):
    """Note [radial maps]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, k: Tensor, profile: str, cap: float | None, time_in: bool, time_out: bool, dim: int
    ) -> tuple[Tensor, ...]:
        v = _vectors(x, profile, cap, time_in, dim)
        factor, _, *of_time = rows = _rows(v, k, profile, cap, dim)
        lead = None
        if time_out:
            lead = of_time[0] / k if of_time else torch.zeros_like(factor)
        return combined(factor, v, lead=lead, dim=dim), *rows

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, k, *ctx.options = inputs
        ctx.mark_non_differentiable(*output[1:])
        leave_undefined(ctx)  # zeros for the numbers
        ctx.save_for_backward(x, k, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        x, k, *numbers = ctx.saved_tensors
        if grad is None:
            return (None,) * 7
        profile, cap, time_in, time_out, dim = ctx.options
        v, g = _vectors(x, profile, cap, time_in, dim), _space(grad, time_out, dim)
        if torch.is_grad_enabled():
            numbers = list(_rows(v, k, profile, cap, dim))
        factor, slope, *of_time = numbers
        along = row_dot(g, v, dim=dim)
        pull = k.square() * slope * along
        if time_out and of_time:
            pull = pull + k * of_time[1] * grad.narrow(dim, 0, 1)
        lead = torch.zeros_like(along) if time_in else None
        grad_x = combined(factor, g, (pull, v), lead=lead, dim=dim)
        grad_k = None
        if ctx.needs_input_grad[1]:
            square = norm(v, dim=dim).square()
            grad_k = (k * square * slope * along).sum()
            if time_out and of_time:
                time, time_slope = of_time
                grad_k = grad_k + ((square * time_slope - time / k.square()) * grad.narrow(dim, 0, 1)).sum()
        return grad_x, grad_k, None, None, None, None, None


def _space(x: Tensor, time: bool, dim: int) -> Tensor:
    return x.narrow(dim, 1, x.size(dim) - 1) if time else x


def _vectors(x: Tensor, profile: str, cap: float | None, time: bool, dim: int) -> Tensor:
    v = _space(x, time, dim)
    return bounded(v, dim=dim) if profile == "length" and cap is not None else v


def _rows(v: Tensor, k: Tensor, profile: str, cap: float | None, dim: int) -> tuple[Tensor, ...]:
    """Factor f and slope s, and of a sinh time h and its slope p."""
    r = (k * norm(v, dim=dim)).clamp_min(torch.finfo(v.dtype).eps)
    return kept_by_row(v, *_PROFILES[profile](r, cap), dim=dim)


def _sinh(r: Tensor, cap: float | None) -> tuple[Tensor, ...]:
    if cap is None:
        factor, cosh = r.sinh() / r, r.cosh()
        return factor, (cosh - factor) / r.square(), cosh, factor
    capped = r.clamp_max(cap)
    factor, cosh = capped.sinh() / r, capped.cosh()
    beyond = r > cap
    slope = (torch.where(beyond, 0.0, cosh) - factor) / r.square()
    return factor, slope, cosh, torch.where(beyond, 0.0, factor)


def _tanh(r: Tensor, cap: float | None) -> tuple[Tensor, ...]:
    tanh = (r if cap is None else r.clamp_max(cap)).tanh()
    factor, derivative = tanh / r, 1 - tanh.square()
    if cap is not None:
        derivative = torch.where(r > cap, 0.0, derivative)
    return factor, (derivative - factor) / r.square()


def _asinh(r: Tensor, cap: None) -> tuple[Tensor, ...]:
    factor = asinh(r) / r
    return factor, ((1 + r.square()).rsqrt() - factor) / r.square()


def _artanh(r: Tensor, cap: None) -> tuple[Tensor, ...]:
    # Lengths from one upwards belong to no point of the ball and are scaled like those just below one.
    inside = r.clamp_max(1 - torch.finfo(r.dtype).eps)
    factor = inside.atanh() / inside
    slope = (1 / ((1 - inside) * (1 + inside)) - factor) / inside.square()
    return factor, torch.where(r > inside, 0.0, slope)


def _length(r: Tensor, cap: float | None) -> tuple[Tensor, ...]:
    if cap is None:
        time = (1 + r.square()).sqrt()
        return torch.ones_like(r), torch.zeros_like(r), time, time.reciprocal()
    beyond, capped = r > cap, r.clamp_max(cap)
    factor, time = capped / r, (1 + capped.square()).sqrt()
    # Two quotients: the square of r may overflow.
    return factor, torch.where(beyond, -factor / r / r, 0.0), time, torch.where(beyond, 0.0, time.reciprocal())


_PROFILES: dict[str, Callable[[Tensor, Any], tuple[Tensor, ...]]] = {
    "sinh": _sinh,
    "asinh": _asinh,
    "tanh": _tanh,
    "artanh": _artanh,
    "length": _length,
}
