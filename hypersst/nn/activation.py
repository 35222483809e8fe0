"""Nonlinearities by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.errors import unknown

__all__ = ["Activation", "resolve_activation"]

Activation = Callable[[Tensor], Tensor]

_ACTIVATIONS: dict[str, Activation] = {
    "elu": F.elu,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "tanh": torch.tanh,
}


def resolve_activation(name: str | Activation | None) -> Activation | None:
    """Look up an elementwise function; callables and ``None`` pass through.

    Args:
        name: ``"relu"``, ``"tanh"``, …, a callable, or ``None``.

    Returns:
        The function, ``None`` for ``None`` and ``"none"``.

    Raises:
        ValueError: If no function has that name; the message holds the nearest ones.

    Example:
        >>> resolve_activation("relu")(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    if name is None or name == "none":
        return None
    if isinstance(name, str):
        if name not in _ACTIVATIONS:
            raise unknown("activation", name, ["none", *_ACTIVATIONS])
        return _ACTIVATIONS[name]
    return name
