"""Sequences of Lorentz points as attention layers take them: their shapes, their heads, their masks."""

from __future__ import annotations

import torch
from torch import Tensor

from hypersst.nn.shapes import check_channels

__all__ = ["check_heads", "check_key_padding", "check_mask_type", "check_sequences", "merge_heads", "split_heads"]


def check_heads(**sizes: int) -> None:
    """Refuse a number of heads, the second size, that does not divide the dimensions, the first one.

    Raises:
        ValueError: If it does not or a size is below 1, naming the arguments.
    """
    check_channels(**sizes)
    (name, dim), (heads_name, heads) = sizes.items()
    if dim % heads:
        raise ValueError(f"`{heads_name}` must divide `{name}` = {dim}, got {heads}.")


def check_sequences(query: Tensor, key: Tensor, value: Tensor, dims: tuple[int, int, int], batch_first: bool) -> None:
    """Refuse sequences whose shapes do not go together.

    Args:
        query: Shape ``(L, N, dims[0] + 1)``, or ``(L, dims[0] + 1)`` for one sequence.
        key: Shape ``(S, N, dims[1] + 1)`` or without ``N``.
        value: Shape ``(S, N, dims[2] + 1)`` or without ``N``.
        dims: Intrinsic dimensions.
        batch_first: Whether ``N`` comes first.

    Raises:
        ValueError: Naming the argument, the rule and the shape.
    """
    for name, x, dim in zip(("query", "key", "value"), (query, key, value), dims, strict=True):
        if x.dim() not in (2, 3) or x.dim() != query.dim():
            raise ValueError(
                f"`{name}` must have 2 axes for one sequence or 3 for a batch, as many as `query`, "
                f"got shape {tuple(x.shape)}."
            )
        if x.shape[-1] != dim + 1:
            raise ValueError(
                f"`{name}` must have its {dim} dimensions + 1 = {dim + 1} columns, got shape {tuple(x.shape)}."
            )
    if value.shape[:-1] != key.shape[:-1]:
        raise ValueError(
            f"`value` must have a row for each row of `key`, of shape {tuple(key.shape)}, got shape "
            f"{tuple(value.shape)}."
        )
    batch = 0 if batch_first else 1
    if query.dim() == 3 and key.shape[batch] != query.shape[batch]:
        raise ValueError(
            f"`key` must have the batch size {query.shape[batch]} of `query` on axis {batch}, got shape "
            f"{tuple(key.shape)}."
        )


def check_key_padding(mask: Tensor, key: Tensor, batch_first: bool) -> None:
    """Refuse a mask of keys that is not ``(N, S)``, or ``(S,)`` for one sequence, of a type that means something.

    Raises:
        TypeError: If the mask is neither boolean nor of floating point.
        ValueError: If its shape is another.
    """
    check_mask_type("key_padding_mask", mask)
    shape = key.shape[:-1] if batch_first or key.dim() == 2 else (key.shape[1], key.shape[0])
    if mask.shape != shape:
        raise ValueError(f"`key_padding_mask` must have shape {tuple(shape)}, got {tuple(mask.shape)}.")


def check_mask_type(name: str, mask: Tensor) -> None:
    """Refuse whole numbers, which could mean either kind of mask.

    Raises:
        TypeError: Naming the argument and its type.
    """
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise TypeError(f"`{name}` must be boolean or of floating point, got {mask.dtype}.")


def split_heads(x: Tensor, num_heads: int, batch_first: bool) -> Tensor:
    """Give each head its part of the space coordinates.

    Args:
        x: Points, shape ``(L, N, E + 1)``, ``(N, L, E + 1)`` if ``batch_first``, or ``(L, E + 1)``.
        num_heads: Number of heads H.
        batch_first: Whether ``N`` comes first.

    Returns:
        Space parts, shape ``(N, H, L, E / H)`` or ``(H, L, E / H)``.
    """
    if x.dim() == 3 and not batch_first:
        x = x.transpose(0, 1)
    return x[..., 1:].unflatten(-1, (num_heads, -1)).transpose(-3, -2)


def merge_heads(space: Tensor, batch_first: bool) -> Tensor:
    """Put the heads' space parts side by side, the inverse of `split_heads`."""
    joined = space.transpose(-3, -2).flatten(-2)
    return joined.transpose(0, 1) if joined.dim() == 3 and not batch_first else joined
