"""Dropout whose masks cost less than torch's on a CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.tracing import current_recording, is_recorded

__all__ = ["copies_draw_from", "dropout", "dropout_mask", "dropout_masks"]

_LANES = 1 << 16
# Where copies draw from, the innermost last. No context variable: compilers do not read those.
_copies: list[tuple[Tensor, Sequence[torch.Generator]]] = []


def dropout_mask(
    shape: torch.Size | tuple[int, ...], p: float, dtype: torch.dtype, generator: torch.Generator
) -> Tensor:
    r"""Draw the factors of dropout on the CPU: zero with probability p, else what keeps the mean.

    Every 64 random bits decide four entries, so p is rounded to a multiple of :math:`2^{-16}`, and the factor of what
    is kept belongs to the rounded p.

    Args:
        shape: Shape of the mask.
        p: Probability of a zero, from 0 up to :math:`1 - 2^{-16}`.
        dtype: Type of the mask.
        generator: Source of the bits, on the CPU.

    Returns:
        A tensor of 0 and :math:`1/(1-p)`.
    """
    return dropout_masks(shape, p, dtype, (generator,))[0]


def dropout_masks(
    shape: torch.Size | tuple[int, ...], p: float, dtype: torch.dtype, generators: Sequence[torch.Generator]
) -> Tensor:
    """Draw one `dropout_mask` from each of several generators, shape ``(len(generators), *shape)``."""
    kept = max(1, round((1.0 - p) * _LANES))
    count = torch.Size(shape).numel()
    words = torch.empty(len(generators), (count + 3) // 4, dtype=torch.int64)
    for row, generator in zip(words, generators, strict=True):
        row.random_(-(2**63), None, generator=generator)
    lanes = words.view(torch.int16)[:, :count].reshape(len(generators), *shape)
    return (lanes < kept - _LANES // 2).to(dtype).mul_(_LANES / kept)


# What a compiler sees: two draws with equal arguments are different numbers, and eager code draws the same ones.
_library = torch.library.Library("hypersst", "FRAGMENT")
_library.define(
    "dropout_mask(Tensor like, float p, Tensor? after) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,)
)


def _eager_mask(like: Tensor, p: float, after: Tensor | None = None) -> Tensor:
    return dropout_mask(like.shape, p, like.dtype, torch.default_generator)


_library.impl("dropout_mask", _eager_mask, "CompositeExplicitAutograd")


torch.library.register_fake(
    "hypersst::dropout_mask",
    lambda like, p, after: torch.empty_like(like, memory_format=torch.contiguous_format),
    lib=_library,
)


def _default_mask(like: Tensor, p: float) -> Tensor:
    if not is_recorded():
        return _eager_mask(like, p)
    record = current_recording()
    mask: Tensor = torch.ops.hypersst.dropout_mask(like, p, None if record is None else record.last_draw)
    if record is not None:
        record.last_draw = mask
    return mask


# The same for copies: a record holds the call, and the generators are those of the moment when it is replayed.
_library.define(
    "dropout_masks(Tensor copies, Tensor like, SymInt[] shape, float p) -> Tensor",
    tags=(torch.Tag.nondeterministic_seeded,),
)


def _eager_masks(copies: Tensor, like: Tensor, shape: Sequence[int], p: float) -> Tensor:
    generators = _copies[-1][1] if _copies else ()
    if len(generators) != len(copies):
        raise RuntimeError(f"`generators` must be one for each of {len(copies)} copies, got {len(generators)}.")
    return dropout_masks(tuple(shape), p, like.dtype, generators)


_library.impl("dropout_masks", _eager_masks, "CompositeExplicitAutograd")


torch.library.register_fake(
    "hypersst::dropout_masks",
    lambda copies, like, shape, p: like.new_empty(len(copies), *shape),
    lib=_library,
)


class _Masks(torch.autograd.Function):
    """`dropout_masks` where `torch.vmap` runs over copies, of which ``copy`` is the number of each."""

    @staticmethod
    def forward(copy: Tensor, *_: Any) -> Tensor:
        raise RuntimeError("`copies_draw_from` must be entered inside `torch.vmap`, with a number that it runs over.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], copy: Tensor, like: Tensor, p: float) -> tuple[Tensor, int]:
        shape = like.shape if in_dims[1] is None else like.movedim(in_dims[1], 0).shape[1:]
        # What is dropped is an argument, so that a compiler keeps the order of masks that depend on one another.
        masks: Tensor = (torch.ops.hypersst.dropout_masks if is_recorded() else _eager_masks)(copy, like, shape, p)
        return masks, 0


@contextmanager
def copies_draw_from(generators: Sequence[torch.Generator], copy: Tensor) -> Iterator[None]:
    """Let every copy under `torch.vmap` draw the masks that it would draw alone.

    On a CPU copy ``i`` draws from ``generators[i]``, as a single model does from torch's own generator; elsewhere
    all draw from torch's.

    Args:
        generators: One for each copy, on the CPU.
        copy: Number of the copy, which `torch.vmap` runs over; to be entered inside.
    """
    _copies.append((copy, generators))
    try:
        yield
    finally:
        _copies.pop()


def _is_exporting() -> bool:
    # Not `torch.compiler.is_exporting`: torch 2.11 answers yes wherever it compiles. In 2.6 nobody can ask, and an
    # exported model that drops holds the operator above.
    return bool(getattr(torch.compiler, "_is_exporting_flag", False))


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """`torch.nn.functional.dropout` of ``x``, any shape, with `dropout_mask` where that is the faster one.

    That is on a CPU, whose own kernel draws 64 bits for each entry, in eager mode as well as compiled: both draw the
    same masks, as long as each but the first is for something that depends on the one before. A GPU's kernel draws its
    bits while it multiplies, and an exported model has torch's operator.

    Args:
        x: What to drop entries of.
        p: Probability with which an entry is zeroed, in [0, 1].
        training: Whether to drop at all.

    Returns:
        A tensor of the same shape.
    """
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu" or p > 1.0 - 1.0 / _LANES or _is_exporting():
        return F.dropout(x, p)
    if not _copies:
        return x * _default_mask(x.detach(), p)
    masks: Tensor = _Masks.apply(_copies[-1][0], x.detach(), p)
    return x * masks
