r"""The squared chord :math:`\langle x - y, x - y\rangle` of two points of the hyperboloid, without cancellation.

# Note [squared chord]

Let Δ = y_s − x_s, Σ = x_s + y_s, T = x_0 + y_0. The squared chord q is |Δ|² − (Δ·Σ/T)², and for two far points on
nearly one ray the two terms agree in all but a factor 1/cosh² of their size. With T² − |Σ|² = −⟨x + y, x + y⟩ = 4/c + q
the same equation reads

    q (T² − |Δ|²) = (4/c) |Δ|² + |Σ|²|Δ|² − (Δ·Σ)² = (4/c) |Δ|² + |Σ|² |Δ_⊥|²,    Δ_⊥ = Δ − (Δ·Σ/|Σ|²) Σ,

where nothing cancels as long as x_s·y_s ≥ 0, for then T² − |Δ|² = 2/c + 2 x_0 y_0 + 2 x_s·y_s is a sum of positive
terms. For x_s·y_s < 0 the first form does not cancel. So the relative error is eps·cosh(radius), what a rounding of x
alone costs, instead of eps·cosh²(radius).

The derivative with respect to space, time following, is −G/x_0 for x and G/y_0 for y with

    G = 2 (x_0 y_s − y_0 x_s) = T Δ_⊥ + (Δ·Σ/|Σ|²) ((4/c + q)/T) Σ,

of which again the second form is used, and ∂q/∂c = −(y_0 − x_0)²/(c² x_0 y_0). Dividing by |Σ|² + eps/c instead of
|Σ|² changes q and G by less than a rounding, and keeps both finite at the origin.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hypersst.manifolds.stable import dot


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
    """Forward and backward of Note [squared chord]; written out, they cost half of what autograd makes of it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor, c: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        xs, ys = x.narrow(dim, 1, x.size(dim) - 1), y.narrow(dim, 1, y.size(dim) - 1)
        x0, y0 = x.narrow(dim, 0, 1), y.narrow(dim, 0, 1)
        diff, total = ys - xs, xs + ys
        diff2, total2, mixed = dot(diff, diff, dim=dim), dot(total, total, dim=dim), dot(diff, total, dim=dim)
        slope = mixed / (total2 + torch.finfo(diff.dtype).eps / c)
        across = torch.addcmul(diff, slope, total, value=-1)
        acute = (4 / c * diff2 + total2 * dot(across, across, dim=dim)) / (
            2 / c + 2 * x0 * y0 + 0.5 * (total2 - diff2).clamp_min(0)
        )
        obtuse = diff2 - (mixed / (x0 + y0)).square()
        return torch.where(total2 >= diff2, acute, obtuse), across, total, slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: tuple[Tensor, ...]) -> None:
        x, y, c, ctx.dim = inputs
        q, across, total, slope = output
        ctx.mark_non_differentiable(across, total, slope)
        ctx.save_for_backward(x, y, c, q, across, total, slope)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, y, c, q, across, total, slope = ctx.saved_tensors
        x0, y0 = x.narrow(ctx.dim, 0, 1), y.narrow(ctx.dim, 0, 1)
        time = x0 + y0
        g = torch.addcmul(grad * time * across, grad * slope * (4 / c + q) / time, total)
        grad_x = grad_y = grad_c = None
        if ctx.needs_input_grad[0]:
            grad_x = _follow(g / -x0, ctx.dim).sum_to_size(x.shape)
        if ctx.needs_input_grad[1]:
            grad_y = _follow(g / y0, ctx.dim).sum_to_size(y.shape)
        if ctx.needs_input_grad[2]:
            # y_0 − x_0 = Δ·Σ/T, and slope holds Δ·Σ up to its guard, which matters only where this is zero.
            time_diff = slope * dot(total, total, dim=ctx.dim) / time
            grad_c = -(grad * time_diff.square() / (x0 * y0)).sum() / c.square()
        return grad_x, grad_y, grad_c, None


def _follow(space: Tensor, dim: int) -> Tensor:
    """Gradient of a point whose time follows from space."""
    return torch.cat((torch.zeros_like(space.narrow(dim, 0, 1)), space), dim=dim)
