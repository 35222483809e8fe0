r"""How singular vectors are held: in the type of the weight, or the frozen ones in fewer bits.

Only drawn vectors move, so the others may be rounded while they wait. They are rounded once, when a draw releases them
or a decomposition makes them, and never while they train: the active rows keep their own type, and `Factors.rows` lays
them over the frozen ones. A row that is drawn and released without training stays as it
was, but for the last digit of its scales.

``"int8"`` rounds to the nearest of :math:`s\cdot\{-127,\dots,127\}`, ties to even, with a float32 scale :math:`s` for
each block of 128 entries: a 127th of the largest magnitude in it. All rows rounded, the weight moves by 0.9 % of its
norm where vectors are Gaussian, and by 2.6 % where they have a few large entries; with one scale for a whole row of 512
it would be 1.1 % and 4.3 %. ``"bfloat16"`` moves it by 0.23 %. Adjusting :math:`\Sigma` to the rounded vectors by least
squares would take away a two-hundredth of what int8 moves, since its errors stand at right angles to the vectors, and
at most a fifth of what bfloat16 does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["BLOCK", "STORAGES", "Factors", "decode", "encode", "stored_bytes", "whole_rows"]

STORAGES = ("float32", "bfloat16", "int8")

#: Neighbouring entries of a row that share a scale.
BLOCK = 128

_LEVELS = 127


def encode(rows: Tensor, storage: str) -> tuple[Tensor, Tensor | None]:
    """Round rows for storage.

    Args:
        rows: Shape ``(k, n)``.
        storage: ``"float32"`` leaves them as they are, whatever their type.

    Returns:
        The rows as they are held, shape ``(k, n)``, and their scales of shape ``(k, ⌈n / 128⌉)``, for ``"int8"`` only.
    """
    if storage == "float32":
        return rows, None
    if storage == "bfloat16":
        return rows.to(torch.bfloat16), None
    blocks = _blocks(rows)
    largest = [block.abs().amax(-1) for block in blocks]
    scale = (torch.cat(largest, -1) / _LEVELS).float()
    # A block of zeros has the scale 0; divided by 1 it is zeros again.
    divisor = torch.where(scale > 0, scale, 1.0).to(rows.dtype)
    held = torch.empty_like(rows, dtype=torch.int8, memory_format=torch.contiguous_format)
    for block, part, own in zip(blocks, _blocks(held), _by_block(divisor, blocks), strict=True):
        part.copy_((block / own).round_().clamp_(-_LEVELS, _LEVELS))
    return held, scale


def decode(held: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Undo `encode`, but for the rounding, into fresh memory.

    Args:
        held: Shape ``(*, k, n)``.
        scale: Shape ``(*, k, ⌈n / 128⌉)``, or ``None``.
        dtype: Type of the result.

    Returns:
        Rows of shape ``(*, k, n)``.
    """
    rows = held.to(dtype, copy=True)
    if scale is not None:
        blocks = _blocks(rows)
        for block, own in zip(blocks, _by_block(scale, blocks), strict=True):
            block.mul_(own)
    return rows


def stored_bytes(k: int, n: int, itemsize: int, storage: str) -> int:
    """Bytes of ``k`` rows of ``n`` entries of ``itemsize`` bytes, scales included, as `encode` leaves them."""
    per_row = {"float32": n * itemsize, "bfloat16": n * 2, "int8": n + 4 * math.ceil(n / BLOCK)}
    return k * per_row[storage]


def _blocks(rows: Tensor) -> list[Tensor]:
    """Views of the whole blocks, ``(*, k, b, 128)``, and of what is left, ``(*, k, 1, rest)``, where there are any."""
    n = rows.shape[-1]
    end = n - n % BLOCK
    views = [rows[..., :end].unflatten(-1, (-1, BLOCK))] if end else []
    return views + ([rows[..., end:].unsqueeze(-2)] if end < n else [])


def _by_block(scale: Tensor, blocks: list[Tensor]) -> tuple[Tensor, ...]:
    return scale.unsqueeze(-1).split([block.shape[-2] for block in blocks], -2)


def _if_read(active: Tensor | None, held: Tensor) -> Tensor | None:
    return None if active is None or active.dtype == held.dtype else active


def whole_rows(held: Tensor, scale: Tensor | None, active: Tensor | None, index: Tensor, dtype: torch.dtype) -> Tensor:
    """All vectors in type ``dtype``, the active ones laid over those of another type; not to be written into."""
    active = _if_read(active, held)
    if active is None:
        return held if held.dtype == dtype else held.to(dtype)
    rows = decode(held, scale, dtype)
    if index.dim() == 1:
        return rows.index_copy_(0, index, active.to(dtype))
    return rows.scatter_(-2, index.unsqueeze(-1).expand_as(active), active.to(dtype))


class Factors(NamedTuple):
    r"""The tensors that hold one weight, or several along leading axes.

    Attributes:
        sigma: Singular values, shape ``(k,)``.
        u_active: Active left vectors, shape ``(r, m)``; ``None`` where ``u`` holds them too.
        v_active: Active right vectors, shape ``(r, n)``, likewise.
        u: All left vectors as they are stored, shape ``(k, m)``. In the type of the active ones it holds these too; in
            another type its active rows mean nothing.
        v: All right vectors, shape ``(k, n)``, likewise.
        u_scale: Scales of ``u``, of those that are stored as integers.
        v_scale: Scales of ``v``.
        drawn: Which rows are active, shape ``(r,)``.
    """

    sigma: Tensor
    u_active: Tensor | None
    v_active: Tensor | None
    u: Tensor
    v: Tensor
    u_scale: Tensor | None
    v_scale: Tensor | None
    drawn: Tensor

    def rows(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """All left and right vectors, shapes ``(k, m)`` and ``(k, n)``; not to be written into."""
        return (
            whole_rows(self.u, self.u_scale, self.u_active, self.drawn, dtype),
            whole_rows(self.v, self.v_scale, self.v_active, self.drawn, dtype),
        )

    def needed(self) -> Factors:
        """Without active rows that `rows` does not read."""
        # Not `_replace`, which torch's compiler did not follow in 2.8.
        sigma, u_active, v_active, u, v, u_scale, v_scale, drawn = self
        return Factors(sigma, _if_read(u_active, u), _if_read(v_active, v), u, v, u_scale, v_scale, drawn)
