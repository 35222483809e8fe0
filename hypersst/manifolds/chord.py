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

from hypersst.manifolds.rows import after_zero, blocks, kept_by_row, plus_product, row_dot, space_rows, works_in_place
from hypersst.manifolds.stable import dot, norm
from hypersst.tracing import leave_undefined


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
        numbers = [_numbers(a, b, c, dim) for a, b in blocks(x, y, dim=dim)]
        q, beta = (
            of_parts[0] if len(of_parts) == 1 else torch.cat(of_parts) for of_parts in zip(*numbers, strict=True)
        )
        return q, beta

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: tuple[Tensor, ...]) -> None:
        x, y, c, ctx.dim = inputs
        q, beta = output
        ctx.mark_non_differentiable(beta)
        leave_undefined(ctx)  # zeros for β
        ctx.save_for_backward(x, y, c, q, beta)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, y, c, q, beta = ctx.saved_tensors
        if grad is None:
            return None, None, None, None
        dim = ctx.dim
        x0, y0 = x.narrow(dim, 0, 1), y.narrow(dim, 0, 1)
        time_diff = beta * x0 + 0.5 * q / x0
        along = beta / c - 0.5 * q * (1 - 1 / (c * x0.square()))
        # With the cotangent in it, if for nothing, a compiler cannot work out D in the forward pass, and keep it. D is
        # scaled after the subtraction: far from the origin it is much shorter than what it is the difference of.
        scale, tilt = kept_by_row(x, -2 * grad, time_diff / x0 + 0.0 * grad, dim=dim)
        grad_x, grad_y = _gradients(x, y, scale, tilt, along, dim)
        grad_c = None
        if ctx.needs_input_grad[2]:
            grad_c = -(grad * time_diff.square() / (x0 * y0)).sum() / c.square()
        return grad_x.sum_to_size(x.shape), grad_y.sum_to_size(y.shape), grad_c, None


def _parts(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Time, and `space_rows`."""
    return x.narrow(dim, 0, 1), space_rows(x, dim=dim)


def _numbers(x: Tensor, y: Tensor, c: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Squared chord q and β, a number a row each."""
    (x0, xs), (y0, ys) = _parts(x, dim), _parts(y, dim)
    diff = ys - xs
    (beta,) = kept_by_row(x, dot(diff, xs, dim=dim) / x0.square(), dim=dim)
    across2 = norm(plus_product(diff, -beta, xs), dim=dim).square()
    ahead = (1 + beta) * x0
    acute = 2 * x0 * (across2 + beta.square() / c) / (y0 + ahead)
    diff2 = across2 + beta.square() * (x0.square() + 1 / c)
    obtuse = diff2 - ((2 * beta * x0.square() + diff2) / (x0 + y0)).square()
    # Half the bound of the note: at x_s = 0 the two sides are equal but for rounding.
    (q,) = kept_by_row(x, torch.where(ahead * x0 * c >= 0.5, acute, obtuse), dim=dim)
    return q, beta


def _gradients(x: Tensor, y: Tensor, scale: Tensor, tilt: Tensor, along: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Gradients of x and y; ``scale`` is −2 times the cotangent, ``along`` what x_s·D must be."""
    if x.shape == y.shape and works_in_place(x, y, scale, tilt, along):
        grads = torch.empty_like(x), torch.empty_like(y)
        for part in blocks(x, y, scale, tilt, along, *grads, dim=dim):
            _write_gradients(*part, dim=dim)
        return grads
    (x0, xs), (y0, ys) = _parts(x, dim), _parts(y, dim)
    d = plus_product(ys - xs, -tilt, xs)
    excess, of_y = kept_by_row(x, scale * (along - row_dot(d, xs, dim=dim)) / x0.square(), -x0 / y0, dim=dim)
    of_space = plus_product(scale * d, excess, xs)
    return after_zero(of_space, x, dim=dim), after_zero(of_y * of_space, y, dim=dim)


def _write_gradients(
    x: Tensor, y: Tensor, scale: Tensor, tilt: Tensor, along: Tensor, grad_x: Tensor, grad_y: Tensor, *, dim: int
) -> None:
    """The same where memory may be written into: passes over whole rows are faster than over their space parts."""
    x0, y0 = x.narrow(dim, 0, 1), y.narrow(dim, 0, 1)
    d = (y - x).addcmul_(tilt, x, value=-1)
    d.narrow(dim, 0, 1).zero_()
    excess = scale * (along - dot(d, x, dim=dim)) / x0.square()
    torch.addcmul(d.mul_(scale), excess, x, out=grad_x)
    grad_x.narrow(dim, 0, 1).zero_()
    torch.mul(-x0 / y0, grad_x, out=grad_y)
