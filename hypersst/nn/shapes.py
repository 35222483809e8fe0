"""Checks of sizes and probabilities where they come in."""

from __future__ import annotations

from typing import Protocol

__all__ = ["check_channels", "check_features", "check_probability"]


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


def check_channels(**sizes: int) -> None:
    """Refuse a size below 1.

    Raises:
        ValueError: Naming the argument and its value.
    """
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")


def check_probability(**probabilities: float) -> None:
    """Refuse a number outside ``[0, 1)``: dropping everything leaves nothing to learn from.

    Raises:
        ValueError: Naming the argument and its value.
    """
    for name, value in probabilities.items():
        if not 0.0 <= value < 1.0:
            raise ValueError(f"`{name}` must be at least 0 and below 1, got {value}.")


def check_features(x: _Shaped, columns: int, rule: str) -> None:
    """Refuse an input whose last dimension is not ``columns``.

    Args:
        x: Input, of any kind that has a shape.
        columns: What its last dimension must be.
        rule: How that number comes about, for the message.

    Raises:
        ValueError: Naming the rule and the shape.
    """
    if x.shape[-1] != columns:
        raise ValueError(f"`x` must have {rule} = {columns} columns, got shape {tuple(x.shape)}.")
