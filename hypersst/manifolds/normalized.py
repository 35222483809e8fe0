r"""Scaling of time-like vectors onto the hyperboloid, :math:`s / (\sqrt c\,\sqrt{|\langle s, s\rangle|})`.

# Note [normalisation]

With n = s_0² − |s_s|², a = (c|n|)^(−1/2) and time taken from space, the point is y_s = a s_s, y_0 = √(1/c + |y_s|²).
For a cotangent g of y let G = g_s + (g_0/y_0) y_s and k = G·s_s. Then the gradients are

    ∂s_s = a G + (a k/n) s_s,   ∂s_0 = −(a k/n) s_0,   ∂c = −a k/(2c) − g_0/(2c² y_0),

without the terms of 1/n where |n| has met its guard. Half of the operations that autograd makes of the forward pass; as
in Note [radial maps], the numbers of rows are computed again where autograd records the backward pass.
"""

from typing import Any

import torch
from torch import Tensor

from hypersst.manifolds.rows import kept, led_by, space_dot, space_norm
from hypersst.tracing import leave_undefined

__all__ = ["normalize"]


def normalize(s: Tensor, c: Tensor, *, dtype: torch.dtype | None = None, dim: int = -1) -> Tensor:
    r"""Scale a time-like ambient vector onto the hyperboloid, :math:`s / (\sqrt c\,\sqrt{|\langle s, s\rangle|})`.

    Time is recomputed from the scaled space, so the result is a point whatever s was; of zero it is the origin. A sum
    of points with non-negative weights is time-like. Errors of the radius grow as eps·cosh²(radius), because s itself
    is rounded: 1e-3 at radius 5 in float32.

    Source: W. Chen et al., *Fully hyperbolic neural networks*, 2022, eq. 9; c is general here.

    Args:
        s: Vectors, shape ``(*, d + 1)``.
        c: Positive curvature parameter.
        dtype: Type of the result, that of s if left out; s is worked on in its own.
        dim: Axis of the coordinates.

    Returns:
        Points, shape ``(*, d + 1)``.
    """
    point: Tensor = _Normalized.apply(s, c, dtype or s.dtype, dim)[0]
    return point


class _Normalized(torch.autograd.Function):
    """Note [normalisation]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(s: Tensor, c: Tensor, dtype: torch.dtype, dim: int) -> tuple[Tensor, ...]:
        scale, time, inverse = _numbers(s, c, dim)
        point = led_by(time, scale, s, dim=dim)
        # Under torch 2.11 compiled code has no gradient of a result that went through a cast to its own type.
        return point if point.dtype == dtype else point.to(dtype), scale, time, inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, torch.dtype, int], output: tuple[Tensor, ...]) -> None:
        s, c, _, ctx.dim = inputs
        ctx.mark_non_differentiable(*output[1:])
        leave_undefined(ctx)  # zeros for the numbers
        ctx.save_for_backward(s, c, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, Tensor | None, None, None]:
        s, c, *numbers = ctx.saved_tensors
        if grad is None:
            return None, None, None, None
        dim, grad = ctx.dim, grad.to(s.dtype)
        scale, time, inverse = _numbers(s, c, dim) if torch.is_grad_enabled() else numbers
        grad_time = grad.narrow(dim, 0, 1)
        (tilt,) = kept(grad_time * scale / time)
        pull = torch.addcmul(grad, tilt, s)
        along = space_dot(pull, s, dim=dim)
        (weight,) = kept(scale * along * inverse)
        grad_s = led_by(-weight * s.narrow(dim, 0, 1), scale, pull, (weight, s), dim=dim)
        grad_c = None
        if ctx.needs_input_grad[1]:
            grad_c = -(0.5 * scale * along / c + 0.5 * grad_time / (c.square() * time)).sum()
        return grad_s, grad_c, None, None


def _numbers(s: Tensor, c: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Factor a, time y_0, and 1/n, which is zero where the guard acts; a number a row each."""
    time, length = s.narrow(dim, 0, 1), space_norm(s, dim=dim)
    square = (time - length) * (time + length)
    # The square root of tiny lets weights shrink to 1e-9 before the guard acts.
    guard = torch.finfo(s.dtype).tiny ** 0.5
    size = square.abs().clamp_min(guard)
    scale = (c * size).rsqrt()
    reach = scale * length
    # The quotient is ±1 above the guard. Numbers that are true or false would cost several times as much.
    inverse = (square / size).trunc() / size
    scale, time, inverse = kept(scale, torch.addcmul(c.reciprocal(), reach, reach).sqrt(), inverse)
    return scale, time, inverse
