r"""From vectors to Lorentz points, the last step of HyboNet's linear layer.

# Note [gated points]

With :math:`q = \lVert z_s\rVert^2`, :math:`\bar q = \max(q, \epsilon)`, :math:`\sigma = \sigma(z_0)`,
:math:`t = e^s\sigma + 1.1/\sqrt c`, :math:`T = t^2 - 1/c` and :math:`f = \sqrt{T/\bar q}` the point is
:math:`y_s = f z_s`, :math:`y_0 = \sqrt{1/c + f^2 q}`. For a cotangent g of y let p = g_0 f / y_0 and
a = g_s·z_s + p q, which is what f receives. Then, with m = 1 where q is above the guard and 0 below,

    ∂z_s = f g_s + f (p − a m / q̄) z_s,   ∂t = a f t / T,
    ∂z_0 = ∂t e^s σ (1 − σ),   ∂s = Σ ∂t e^s σ,   ∂c = Σ −0.55 c^(−3/2) ∂t + (a f / T − g_0 / y_0) / (2c²).

Above the guard the bracket is −g_s·z_s / q, and is computed so: p would cancel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypersst.manifolds.rows import kept, led_by, space_dot, space_square
from hypersst.tracing import leave_undefined

__all__ = ["OFFSET", "gated_point"]

OFFSET = 1.1
"""Least cosh of a point's distance from the origin, times the root of c."""

_GUARD = 1e-8


def gated_point(z: Tensor, log_scale: Tensor, c: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    r"""Read a vector as a point: its first entry says how far, the others in which direction.

    .. math::
        t = e^s\,\sigma(z_0) + \tfrac{1.1}{\sqrt c}, \qquad
        y_s = z_s \sqrt{\frac{t^2 - 1/c}{\max(\lVert z_s\rVert^2, 10^{-8})}}, \qquad
        y = \left(\sqrt{\tfrac 1c + \lVert y_s\rVert^2},\; y_s\right)

    Time is t but where :math:`z_s` is so short that the guard acts.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, as in the authors' code. Two departures:
    the offset is 1.1 there, which is no point for :math:`c \le 0.82`; and where the guard acts their time stays t, so
    that zero features give a vector beside the manifold and not the origin.

    Args:
        z: Shape ``(*, d + 1)``.
        log_scale: The scalar :math:`s`.
        c: Positive curvature parameter, a scalar.
        dtype: Type to compute and return the points in, that of ``z`` if left out.

    Returns:
        Points with :math:`\langle y, y\rangle = -1/c`, shape ``(*, d + 1)``. They can be differentiated twice.
    """
    if dtype is not None:
        z, c = z.to(dtype), c.to(dtype)
    point: Tensor = _GatedPoint.apply(z, log_scale, c)[0]
    return point


class _GatedPoint(torch.autograd.Function):
    """Note [gated points]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, log_scale: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        share, reach, gap, factor, square, inverse, time = _numbers(z, log_scale, c)
        return led_by(time, factor, z), share, reach, gap, factor, square, inverse, time

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        leave_undefined(ctx)  # zeros for the numbers
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        z, log_scale, c, *numbers = ctx.saved_tensors
        if grad is None:
            return None, None, None
        share, reach, gap, factor, square, inverse, time = (
            _numbers(z, log_scale, c) if torch.is_grad_enabled() else numbers
        )
        grad_time = grad[..., :1]
        pull = grad_time * factor / time
        along = space_dot(grad, z)
        push = torch.addcmul(along, pull, square) * factor / gap
        of_time = push * reach
        gate = of_time * share * log_scale.exp()
        # `inverse` is zero below the guard, where the bracket is p.
        bracket = pull * (1 - inverse.sign()) - along * inverse
        weight, lead = kept(factor * bracket, gate * (1 - share))
        grad_z = led_by(lead, factor, grad, (weight, z))
        grad_scale = gate.sum().to(log_scale.dtype) if ctx.needs_input_grad[1] else None
        grad_c = None
        if ctx.needs_input_grad[2]:
            each = (push - grad_time / time) / c.square() - OFFSET * of_time / (c * c.sqrt())
            grad_c = 0.5 * each.sum()
        return grad_z, grad_scale, grad_c


def _numbers(z: Tensor, log_scale: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """Share σ, reach t, gap T, factor f, squared length q, m/q̄ and time y_0; a number a row, in the type of z."""
    share, unit = z[..., :1].sigmoid(), c.reciprocal()
    reach = torch.addcmul(OFFSET * c.rsqrt(), log_scale.exp(), share)
    gap = reach.square() - unit
    square = space_square(z)
    guarded = square.clamp_min(_GUARD)
    factor = (gap / guarded).sqrt()
    time = torch.addcmul(unit, factor.square(), square).sqrt()
    # The quotient is 1 above the guard. Numbers that are true or false would cost several times as much.
    inverse = (square / guarded).floor() / guarded
    return kept(share, reach, gap, factor, square, inverse, time)
