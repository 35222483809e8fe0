r"""Radial maps :math:`v \mapsto f(k\lVert v\rVert)\,v`: exponential maps and logarithms at the origin.

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
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypersst.manifolds.rows import combined, kept, row_dot
from hypersst.manifolds.stable import asinh, norm

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
        profile: ``"sinh"``, ``"asinh"``, ``"tanh"`` or ``"artanh"``: f is that function of r, over r.
        cap: Largest argument of the ``"sinh"`` or ``"tanh"``; no cap if None.
        time_in: Whether the vectors have a first coordinate that is their time.
        time_out: Whether results shall: :math:`\cosh(r)/k` for ``"sinh"``, zero for ``"asinh"``.
        dim: Axis of the coordinates.

    Returns:
        :math:`f(r)\,v`, shape ``(*, d)`` or ``(*, d + 1)``.
    """
    y: Tensor = _Radial.apply(x, k, profile, cap, time_in, time_out, dim)[0]
    return y


class _Rows(NamedTuple):
    """Numbers of rows: factor f, slope s, time h and its slope p."""

    factor: Tensor
    slope: Tensor
    time: Tensor
    time_slope: Tensor


class _Radial(torch.autograd.Function):
    """Note [radial maps]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, k: Tensor, profile: str, cap: float | None, time_in: bool, time_out: bool, dim: int
    ) -> tuple[Tensor, ...]:
        rows = _rows(x, k, profile, cap, time_in, dim)
        y = combined(rows.factor, _space(x, time_in, dim), lead=rows.time / k if time_out else None, dim=dim)
        return y, *rows

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, k, *ctx.options = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(x, k, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, k, *numbers = ctx.saved_tensors
        profile, cap, time_in, time_out, dim = ctx.options
        rows = _rows(x, k, profile, cap, time_in, dim) if torch.is_grad_enabled() else _Rows(*numbers)
        v, g = _space(x, time_in, dim), _space(grad, time_out, dim)
        along = row_dot(g, v, dim=dim)
        pull = k.square() * rows.slope * along
        if time_out:
            pull = pull + k * rows.time_slope * grad.narrow(dim, 0, 1)
        lead = torch.zeros_like(along) if time_in else None
        grad_x = combined(rows.factor, g, (pull, v), lead=lead, dim=dim)
        grad_k = None
        if ctx.needs_input_grad[1]:
            square = norm(v, dim=dim).square()
            grad_k = (k * square * rows.slope * along).sum()
            if time_out:
                of_time = square * rows.time_slope - rows.time / k.square()
                grad_k = grad_k + (of_time * grad.narrow(dim, 0, 1)).sum()
        return grad_x, grad_k, None, None, None, None, None


def _space(x: Tensor, time: bool, dim: int) -> Tensor:
    return x.narrow(dim, 1, x.size(dim) - 1) if time else x


def _rows(x: Tensor, k: Tensor, profile: str, cap: float | None, time_in: bool, dim: int) -> _Rows:
    r = (k * norm(_space(x, time_in, dim), dim=dim)).clamp_min(torch.finfo(x.dtype).eps)
    return _Rows(*kept(*_PROFILES[profile](r, cap)))


def _sinh(r: Tensor, cap: float | None) -> _Rows:
    if cap is None:
        factor, cosh = r.sinh() / r, r.cosh()
        return _Rows(factor, (cosh - factor) / r.square(), cosh, factor)
    capped = r.clamp_max(cap)
    factor, cosh = capped.sinh() / r, capped.cosh()
    beyond = r > cap
    slope = (torch.where(beyond, 0.0, cosh) - factor) / r.square()
    return _Rows(factor, slope, cosh, torch.where(beyond, 0.0, factor))


def _tanh(r: Tensor, cap: float | None) -> _Rows:
    tanh = (r if cap is None else r.clamp_max(cap)).tanh()
    factor, derivative = tanh / r, 1 - tanh.square()
    if cap is not None:
        derivative = torch.where(r > cap, 0.0, derivative)
    return _timeless(factor, (derivative - factor) / r.square())


def _asinh(r: Tensor, cap: None) -> _Rows:
    factor = asinh(r) / r
    return _timeless(factor, ((1 + r.square()).rsqrt() - factor) / r.square())


def _artanh(r: Tensor, cap: None) -> _Rows:
    # Lengths from one upwards belong to no point of the ball and are scaled like those just below one.
    inside = r.clamp_max(1 - torch.finfo(r.dtype).eps)
    factor = inside.atanh() / inside
    slope = (1 / ((1 - inside) * (1 + inside)) - factor) / inside.square()
    return _timeless(factor, torch.where(r > inside, 0.0, slope))


def _timeless(factor: Tensor, slope: Tensor) -> _Rows:
    return _Rows(factor, slope, torch.zeros_like(factor), torch.zeros_like(factor))


_PROFILES: dict[str, Callable[[Tensor, Any], _Rows]] = {
    "sinh": _sinh,
    "asinh": _asinh,
    "tanh": _tanh,
    "artanh": _artanh,
}
