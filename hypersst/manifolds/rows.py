"""Passes over many rows that reuse memory, and give way where torch wants functions without side effects.

On a CPU fresh memory of some 25 MB costs more than the arithmetic of a pass, because its pages come from the system.
Compilers plan memory themselves, and neither `torch.func.vmap` nor recorded graphs take every in-place operation.
"""

import torch
from torch import Tensor

from hypersst.tracing import is_compiled

__all__ = [
    "after_zero",
    "blocks",
    "combined",
    "kept",
    "kept_by_row",
    "led_by",
    "plus_product",
    "row_dot",
    "space_dot",
    "space_norm",
    "space_rows",
    "space_square",
    "works_in_place",
]

# On a CPU, from measurements with rows of 16 to 2,000: up to so many numbers the products of two arrays, written down,
# are summed faster than they are as products of a row and a column; and rows up to so short, than norms are taken.
_IN_CACHE = 2**19
_SHORT = 32

# From so many numbers a row takes longer to fetch from memory than a few of its functions to work out one by one.
_LONG = 48

# Vectors of a processor hold a multiple of so many numbers in float32.
_VECTOR = 8

# Numbers of a block: a quarter of a megabyte in float32, for several arrays of this size share one or two megabytes.
_BLOCK = 2**16


def kept(*numbers: Tensor) -> tuple[Tensor, ...]:
    """Numbers of rows that a compiler for the CPU shall store.

    Inlined into the loop over columns they are worked out again for every few of them, in scalar arithmetic, which is
    half of the time of a radial map. A strided view asks for memory; elsewhere it would only be in the way.
    """
    if not is_compiled() or numbers[0].device.type != "cpu":
        return numbers
    return tuple(x.contiguous().as_strided(x.shape, _steps(x.shape)) for x in numbers)


def _steps(shape: torch.Size) -> list[int]:
    """Strides of a contiguous tensor; its own may not be asked for in a backward pass that torch 2.6 traces."""
    steps = [1]
    for size in reversed(shape[1:]):
        steps.insert(0, steps[0] * size)
    return steps[: len(shape)]


def kept_by_row(rows: Tensor, *numbers: Tensor, dim: int = -1) -> tuple[Tensor, ...]:
    """The same for numbers that a further pass over ``rows`` follows, which finds its row in the cache.

    Numbers that are `kept` are worked out for several rows at once, after a loop over all rows has summed them, and the
    next pass fetches all rows from memory again. Here they are worked out one by one within that loop, because to each
    a zero is added of a type that the compiler has no vectors for. For short rows, and few, that costs more than it
    saves.
    """
    if not is_compiled() or rows.numel() <= _IN_CACHE or rows.size(dim) < _LONG:
        return kept(*numbers)
    # What is not a number stays so: 1 is added to it.
    return kept(*(x + x.isnan().to(torch.int16) for x in numbers))


def blocks(*rows: Tensor, dim: int = -1) -> list[tuple[Tensor, ...]]:
    """The same rows of several tensors, so few at a time that temporaries of their size stay in a core's cache.

    Args:
        rows: Tensors of the same number of dimensions; the first one decides how many rows make a block.
        dim: Axis of the coordinates.

    Returns:
        The tensors themselves, as the only block, where they are small, unlike in shape, on another device, or traced.
    """
    x, *others = rows
    alike = x.dim() > 1 and dim in (-1, x.dim() - 1) and all(y.shape[:-1] == x.shape[:-1] for y in others)
    if not alike or x.numel() <= _IN_CACHE or x.device.type != "cpu" or not works_in_place(*rows):
        return [rows]
    size = max(1, _BLOCK * torch.get_num_threads() * x.size(0) // x.numel())
    return list(zip(*(y.split(size) for y in rows), strict=True))


def plus_product(total: Tensor, factor: Tensor, x: Tensor) -> Tensor:
    """``total + factor * x``, whose memory may be that of ``total``: a temporary that is not read again."""
    return total.addcmul_(factor, x) if works_in_place(total, factor, x) else torch.addcmul(total, factor, x)


def row_dot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Euclidean inner product over one axis, which is kept, without a temporary of the products where that is exact."""
    if dim not in (-1, x.dim() - 1) or not _multiplies(x, y):
        return (x * y).sum(dim=dim, keepdim=True)
    return (x.unsqueeze(-2) @ y.unsqueeze(-1)).squeeze(-1)


def space_dot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Euclidean inner product of all coordinates but the first, the axis kept."""
    if is_compiled():
        # Loads of d coordinates from rows of d + 1 are slow where d is odd; whole rows are not.
        first = _first(x, dim)
        if x.dtype == torch.float64 and x.device.type == "cpu" and dim in (-1, x.dim() - 1):
            # Six times as fast as the sums over rows of doubles that the compiler writes.
            return (x * y) @ (~first).to(x.dtype).view(-1, 1)
        return torch.where(first, 0.0, x * y).sum(dim=dim, keepdim=True)
    if _fits_cache(x, dim) and _multiplies(x, y):
        return _sum_of_space(x * y)
    return row_dot(_space(x, dim), _space(y, dim), dim=dim)


def space_square(x: Tensor, *, dim: int = -1) -> Tensor:
    """Squared Euclidean norm of all coordinates but the first, the axis kept."""
    return space_dot(x, x, dim=dim) if _short(x, dim) else space_norm(x, dim=dim).square()


def space_norm(x: Tensor, *, dim: int = -1) -> Tensor:
    """Euclidean norm of all coordinates but the first, the axis kept."""
    if _short(x, dim):
        return space_dot(x, x, dim=dim).sqrt()
    return torch.linalg.vector_norm(_space(x, dim), dim=dim, keepdim=True)


def space_rows(x: Tensor, *, dim: int = -1) -> Tensor:
    """All coordinates but the first, or, where a compiler reads whole rows faster, all with zero for the first.

    It has vectors of 8 or 16 numbers. What is left over at the end of a row takes longer than a whole vector.
    """
    if is_compiled() and (x.size(dim) - 1) % _VECTOR:
        return torch.where(_first(x, dim), 0.0, x)
    return _space(x, dim)


def after_zero(space: Tensor, x: Tensor, *, dim: int = -1) -> Tensor:
    """Results for what `space_rows` made of ``x``, with a first coordinate of zero."""
    if space.size(dim) == x.size(dim):
        return space
    return torch.cat((torch.zeros_like(space.narrow(dim, 0, 1)), space), dim=dim)


def led_by(
    lead: Tensor, factor: Tensor, x: Tensor, plus: tuple[Tensor, Tensor] | None = None, *, dim: int = -1
) -> Tensor:
    """``factor * x``, plus the product of a second factor and rows if given, with ``lead`` for the first coordinate.

    Args:
        lead: First coordinate of each result, axis of the coordinates kept.
        factor: A number a row.
        x: Rows, shape ``(*, d + 1)``, whose first coordinate does not matter as long as it is finite.
        plus: Another pair of this kind.
        dim: Axis of the coordinates.

    Returns:
        Shape ``(*, d + 1)``.
    """
    if not works_in_place(lead, factor, x, *(plus or ())):
        total = factor * x if plus is None else torch.addcmul(factor * x, *plus)
        if is_compiled():
            return torch.where(_first(x, dim), lead, total)
        # A quarter of the time; exact for finite numbers, since the weights are 0 and 1.
        return torch.lerp(total, lead, _unit(total, dim))
    total = factor * x
    if plus is not None:
        total.addcmul_(*plus)
    total.narrow(dim, 0, 1).copy_(lead)
    return total


def _multiplies(*rows: Tensor) -> bool:
    """Whether a product of matrices sums over rows as well as a sum does."""
    # A compiler that traces must not come to the questions about the process.
    if not works_in_place(*rows):
        return False
    # It may have been asked to round its factors to fewer bits.
    return torch.get_float32_matmul_precision() == "highest" and not torch.is_autocast_enabled(rows[0].device.type)


def _fits_cache(x: Tensor, dim: int) -> bool:
    return x.dim() > 1 and dim in (-1, x.dim() - 1) and x.numel() <= _IN_CACHE


def _short(x: Tensor, dim: int) -> bool:
    return is_compiled() or (x.shape[-1] <= _SHORT and _fits_cache(x, dim) and _multiplies(x))


def _sum_of_space(products: Tensor) -> Tensor:
    # A third of the time of a sum over a short last axis.
    space = _space(products, -1)
    return space @ products.new_ones(space.shape[-1], 1)


def _space(x: Tensor, dim: int) -> Tensor:
    return x.narrow(dim, 1, x.size(dim) - 1)


def _unit(x: Tensor, dim: int) -> Tensor:
    """1 for the first coordinate, 0 for the others."""
    shape = [1] * x.dim()
    shape[dim] = -1
    return torch.eye(1, x.size(dim), dtype=x.dtype, device=x.device).view(shape)


def _first(x: Tensor, dim: int) -> Tensor:
    """True for the first coordinate."""
    shape = [1] * x.dim()
    shape[dim] = -1
    return (torch.arange(x.size(dim), device=x.device) == 0).view(shape)


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
    if not works_in_place(factor, x, *(plus or ()), *(() if lead is None else (lead,))):
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


def works_in_place(*tensors: Tensor) -> bool:
    """Whether temporaries may be written into: nothing compiles, records gradients or transforms the function."""
    if is_compiled() or torch.is_grad_enabled():
        return False
    return not any(torch._C._functorch.is_functorch_wrapped_tensor(x) for x in tensors)
