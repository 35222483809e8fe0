"""Which keys a query must not see: true where one is hidden, as `torch.nn.MultiheadAttention` has it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["future", "padding"]


def padding(tokens: Tensor, pad: int) -> Tensor:
    """Hide the padding of rows of tokens from all heads and queries.

    Args:
        tokens: Shape ``(B, S)``.
        pad: The token that fills rows up.

    Returns:
        Boolean, shape ``(B, 1, 1, S)``.

    Example:
        >>> padding(torch.tensor([[5, 7, 0]]), 0).flatten().tolist()
        [False, False, True]
    """
    return (tokens == pad)[:, None, None, :]


def future(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """Hide from each of the last ``queries`` positions those that come after it.

    Args:
        queries: Number L of queries, at most ``keys``: the last key stands where the last query does.
        keys: Number S of keys.
        device: Where to make it.

    Returns:
        Boolean, shape ``(L, S)``.

    Example:
        >>> future(2, 3).tolist()
        [[False, False, True], [False, False, False]]
    """
    return torch.ones(queries, keys, dtype=torch.bool, device=device).triu(1 + keys - queries)
