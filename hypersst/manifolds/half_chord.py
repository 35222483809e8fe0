r"""Half the chord of two points of the ball, :math:`z = \sqrt c\,\lVert x - y\rVert / \sqrt{\alpha\beta}`.

It is :math:`\sinh(\tfrac{\sqrt c}{2} d)`, and :math:`\tfrac{\sqrt c}{2}` times the chord of the same points of the
hyperboloid.

# Note [half chord]

With Δ = x − y, α = 1 − c|x|², β = 1 − c|y|² and a cotangent g of z, the gradients are

    ∂x = g (z/|Δ|² Δ + c z/α x),   ∂y = g (−z/|Δ|² Δ + c z/β y),   ∂c = g z/2 (1/c + |x|²/α + |y|²/β),

where z/|Δ|² is computed as √c/(|Δ|√(αβ)), and is zero where the points meet; the terms with α and β are left out
where these have been clamped at the machine epsilon. As in Note [radial maps], numbers of rows are kept from the
forward pass, and computed again where autograd records the backward pass.
"""

from typing import Any

import torch
from torch import Tensor

from hypersst.manifolds.rows import combined, kept
from hypersst.manifolds.stable import norm

__all__ = ["half_chord"]


def half_chord(x: Tensor, y: Tensor, c: Tensor, *, dim: int = -1) -> Tensor:
    """Half chord of two points of the ball, see Note [half chord].

    Args:
        x: Points, shape ``(*, d)``.
        y: Points, shape ``(*, d)``.
        c: Positive curvature parameter.
        dim: Axis of the coordinates.

    Returns:
        Numbers from zero, axis of the coordinates kept; the gradient where x = y is zero.
    """
    z: Tensor = _HalfChord.apply(x, y, c, dim)[0]
    return z


class _HalfChord(torch.autograd.Function):
    """Note [half chord]; autograd would make four times as many passes over the rows."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor, c: Tensor, dim: int) -> tuple[Tensor, ...]:
        return _of_rows(x, y, c, dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, y, c, ctx.dim = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(x, y, c, *output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, y, c, *numbers = ctx.saved_tensors
        if torch.is_grad_enabled():
            numbers = list(_of_rows(x, y, c, ctx.dim))
        z, apart, of_x, of_y = numbers
        grad_x = grad_y = grad_c = None
        along = combined(grad * apart, x - y, dim=ctx.dim)
        if ctx.needs_input_grad[0]:
            grad_x = torch.addcmul(along, grad * c * z * of_x, x).sum_to_size(x.shape)
        if ctx.needs_input_grad[1]:
            grad_y = torch.addcmul(-along, grad * c * z * of_y, y).sum_to_size(y.shape)
        if ctx.needs_input_grad[2]:
            squares = norm(x, dim=ctx.dim).square() * of_x + norm(y, dim=ctx.dim).square() * of_y
            grad_c = (0.5 * grad * z * (1 / c + squares)).sum()
        return grad_x, grad_y, grad_c, None


def _of_rows(x: Tensor, y: Tensor, c: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Half chord z, z/|Δ|², 1/α and 1/β, a number a row each."""
    eps = torch.finfo(x.dtype).eps
    gap_x, gap_y = (1 - c * norm(p, dim=dim).square() for p in (x, y))
    length = norm(x - y, dim=dim)
    root = (gap_x.clamp_min(eps) * gap_y.clamp_min(eps)).rsqrt() * c.sqrt()
    # Below the smallest normal number the quotient would overflow, and the points are the same.
    apart = torch.where(length > torch.finfo(x.dtype).tiny, root / length.clamp_min(torch.finfo(x.dtype).tiny), 0.0)
    of_x, of_y = (torch.where(gap > eps, 1 / gap.clamp_min(eps), 0.0) for gap in (gap_x, gap_y))
    z, apart, of_x, of_y = kept(root * length, apart, of_x, of_y)
    return z, apart, of_x, of_y
