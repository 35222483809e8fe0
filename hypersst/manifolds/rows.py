"""Passes over many rows that reuse memory, and give way where torch wants functions without side effects.

On a CPU fresh memory of some 25 MB costs more than the arithmetic of a pass, because its pages come from the system.
Compilers plan memory themselves, and neither `torch.func.vmap` nor recorded graphs take every in-place operation.
"""

import torch
from torch import Tensor

__all__ = ["combined", "kept", "plus_product", "row_dot"]


def kept(*numbers: Tensor) -> tuple[Tensor, ...]:
    """Numbers of rows that a compiler for the CPU shall store.

    Inlined into the loop over columns they are worked out again for every few of them, in scalar arithmetic, which is
    half of the time of a radial map. A strided view asks for memory; elsewhere it would only be in the way.
    """
    if not torch.compiler.is_compiling() or numbers[0].device.type != "cpu":
        return numbers
    return tuple(x.contiguous().as_strided(x.shape, x.stride()) for x in numbers)


def plus_product(total: Tensor, factor: Tensor, x: Tensor) -> Tensor:
    """``total + factor * x``, whose memory may be that of ``total``: a temporary that is not read again."""
    return total.addcmul_(factor, x) if _in_place(total, factor, x) else torch.addcmul(total, factor, x)


def row_dot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Euclidean inner product over one axis, which is kept, without a temporary of the products where that is exact."""
    # A product of matrices may have been asked to round its factors to fewer bits.
    if dim not in (-1, x.dim() - 1) or not _in_place(x, y) or torch.get_float32_matmul_precision() != "highest":
        return (x * y).sum(dim=dim, keepdim=True)
    with torch.autocast(x.device.type, enabled=False):
        return (x.unsqueeze(-2) @ y.unsqueeze(-1)).squeeze(-1)


def combined(
    factor: Tensor,
    x: Tensor,
    plus: tuple[Tensor, Tensor] | None = None,
    *,
    lead: Tensor | None = None,
    dim: int = -1,
) -> Tensor:
    """``factor * x``, plus the product of a second factor and rows if given, behind a coordinate ``lead`` if given.

    Args:
        factor: A number a row, axis of the coordinates kept.
        x: Rows, shape ``(*, d)``.
        plus: Another pair of this kind.
        lead: First coordinate of each result.
        dim: Axis of the coordinates.

    Returns:
        Shape ``(*, d)``, or ``(*, d + 1)`` with ``lead``.
    """
    if not _in_place(factor, x, *(plus or ()), *(() if lead is None else (lead,))):
        total = factor * x if plus is None else torch.addcmul(factor * x, *plus)
        return total if lead is None else torch.cat((lead, total), dim=dim)
    shape = list(x.shape)
    shape[dim] += lead is not None
    result = x.new_empty(shape)
    total = result
    if lead is not None:
        result.narrow(dim, 0, 1).copy_(lead)
        total = result.narrow(dim, 1, x.size(dim))
    torch.mul(factor, x, out=total)
    if plus is not None:
        total.addcmul_(*plus)
    return result


def _in_place(*tensors: Tensor) -> bool:
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return False
    return not any(torch._C._functorch.is_functorch_wrapped_tensor(x) for x in tensors)
