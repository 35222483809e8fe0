"""Checks of tokens and vocabularies where they come in."""

from __future__ import annotations

from torch import Tensor

__all__ = ["check_pad", "check_rows"]


def check_rows(name: str, tokens: Tensor) -> None:
    """Refuse what are not rows of whole numbers.

    Raises:
        TypeError: If they are not whole numbers.
        ValueError: If there are not two axes.
    """
    if tokens.is_floating_point() or tokens.is_complex():
        raise TypeError(f"`{name}` must hold whole numbers, got {tokens.dtype}.")
    if tokens.dim() != 2:
        raise ValueError(f"`{name}` must have shape (rows, length), got {tuple(tokens.shape)}.")


def check_pad(pad: int, **vocabularies: int) -> None:
    """Refuse a padding token that is no word of the vocabularies.

    Raises:
        ValueError: Naming the vocabulary and its size.
    """
    for name, words in vocabularies.items():
        if not 0 <= pad < words:
            raise ValueError(f"`pad` must be at least 0 and below `{name}` = {words}, got {pad}.")
