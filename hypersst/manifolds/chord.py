r"""The squared chord :math:`\langle x - y, x - y\rangle` of two points of the hyperboloid, without cancellation.

# Note [squared chord]

Let Δ = y_s − x_s and T = x_0 + y_0. The squared chord q is |Δ|² − (y_0 − x_0)², and for two far points on nearly one
ray the two terms agree in all but a factor 1/cosh² of their size. With

    β = x_s·Δ / x_0²,   Δ' = Δ − β x_s,   g = |Δ'|² + β²/c   (which is |Δ|² − (x_s·Δ)²/x_0², the metric at x of Δ)

and the identities |Δ|² = |Δ'|² + β²(x_0² + 1/c) and T² − |Δ|² = 2 x_0 (y_0 + (1 + β) x_0), the equation
q (T² − |Δ|²) = (4/c)|Δ|² + 4(|x_s|²|Δ|² − (x_s·Δ)²) reads

    q = 2 x_0 g / (y_0 + (1 + β) x_0),

where nothing cancels as long as x_s·y_s ≥ 0, that is (1 + β) x_0² ≥ 1/c. Otherwise |Δ|² − ((2βx_0² + |Δ|²)/T)² does not
cancel. So the relative error is eps·cosh(radius), what a rounding of x alone costs, instead of eps·cosh²(radius).

The derivative with respect to space, time following, is −2D for x and 2(x_0/y_0)D for y with

    D = Δ − (β + q/(2x_0²)) x_s = Δ' − q/(2x_0²) x_s,

which is y_s − (y_0/x_0) x_s without its cancellation. One is left: the part of Δ' along x_s is a difference of numbers
cosh² larger, and in the metric that part of a gradient counts cosh of the radius more than as a number. So x_s·D is set
to what it must be, β/c − q|x_s|²/(2x_0²), by adding a multiple of x_s. Last, ∂q/∂c = −(y_0 − x_0)²/(c² x_0 y_0) with
y_0 − x_0 = βx_0 + q/(2x_0).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hypersst.manifolds.rows import combined, kept, plus_product, row_dot
from hypersst.manifolds.stable import dot, norm


def squared_chord(x: Tensor, y: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    r"""Squared Minkowski norm of x − y, see Note [squared chord].

    Time is taken to follow from space and c: the gradient that the time parts of x and y receive is zero, and that of
    the space parts and of c holds what would have come through them. It can be differentiated once.

    Args:
        x: Points, shape ``(*, d + 1)``.
        y: Points, shape ``(*, d + 1)``.
        c: Positive curvature parameter.
        dim: Axis of the coordinates.

    Returns:
        Squared chords, up to rounding not negative, axis of the coordinates kept.
    """
    q: Tensor = _SquaredChord.apply(x, y, c, dim)[0]
    return q


class _SquaredChord(torch.autograd.Function):
    """Forward and backward of Note [squared chord]; autograd would make three times as many passes over the rows."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor, c: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        # Passes over whole rows are faster than over their space parts: the difference's time is set to zero.
        x0, y0 = x.narrow(dim, 0, 1), y.narrow(dim, 0, 1)
        diff = y - x
        diff.narrow(dim, 0, 1).zero_()
        (beta,) = kept(dot(diff, x, dim=dim) / x0.square())
        across = plus_product(diff, -beta, x)
        across2 = norm(across.narrow(dim, 1, across.size(dim) - 1), dim=dim).square()
        ahead = (1 + beta) * x0
        acute = 2 * x0 * (across2 + beta.square() / c) / (y0 + ahead)
        diff2 = across2 + beta.square() * (x0.square() + 1 / c)
        obtuse = diff2 - ((2 * beta * x0.square() + diff2) / (x0 + y0)).square()
        # Half the bound of the note: at x_s = 0 the two sides are equal but for rounding.
        return torch.where(ahead * x0 * c >= 0.5, acute, obtuse), beta

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: tuple[Tensor, ...]) -> None:
        x, y, c, ctx.dim = inputs
        q, beta = output
        ctx.mark_non_differentiable(beta)
        ctx.save_for_backward(x, y, c, q, beta)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, y, c, q, beta = ctx.saved_tensors
        dim = ctx.dim
        x0, y0 = x.narrow(dim, 0, 1), y.narrow(dim, 0, 1)
        time_diff = beta * x0 + 0.5 * q / x0
        (tilt,) = kept(time_diff / x0)
        d = plus_product(y - x, -tilt, x)
        d.narrow(dim, 0, 1).zero_()
        along = beta / c - 0.5 * q * (1 - 1 / (c * x0.square()))
        of_x, of_d, of_y = kept(-2 * grad * (along - row_dot(d, x, dim=dim)) / x0.square(), -2 * grad, -x0 / y0)
        grad_x = combined(of_d, d, (of_x, x), dim=dim)
        grad_x.narrow(dim, 0, 1).zero_()
        grad_y = combined(of_y, grad_x, dim=dim)
        grad_c = None
        if ctx.needs_input_grad[2]:
            grad_c = -(grad * time_diff.square() / (x0 * y0)).sum() / c.square()
        return grad_x.sum_to_size(x.shape), grad_y.sum_to_size(y.shape), grad_c, None
