"""Updates of points as one kernel each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hypersst.optim.adam_rules import AdamSettings
from hypersst.tracing import compiled

__all__ = ["CompiledRules"]


class CompiledRules:
    """Adam's updates of points, compiled once for each manifold, shape and type that is stepped."""

    def __init__(self) -> None:
        self._compiled: dict[Any, Callable[..., Tensor]] = {}

    def __call__(
        self, rule: Callable[..., Tensor], manifold: Any, points: tuple[Tensor | None, ...], settings: AdamSettings
    ) -> Tensor:
        """Apply ``rule`` to ``points``, the five tensors that `hypersst.optim.adam_rules.adam_points_` takes."""
        given = [tensor for tensor in points if tensor is not None]
        x, missing = given[0], [None] * (len(points) - len(given))  # the last one may be
        # Numbers of Python would be compiled in, and these change with every step.
        numbers = (settings.lr, *settings.corrections)
        tensors = (*(torch.as_tensor(number, dtype=x.dtype, device=x.device) for number in numbers), *given)
        shapes = tuple((t.shape, t.dtype, t.device) for t in tensors)
        key = (rule, manifold, settings.betas, settings.eps, settings.elements, shapes)
        if key not in self._compiled:

            def update(lr: Tensor, first: Tensor, second: Tensor, *points: Tensor) -> Tensor:
                changed = settings._replace(lr=lr, corrections=(first, second))
                return rule(manifold, *points, *missing, changed)

            self._compiled[key] = compiled(update, tensors)
        return self._compiled[key](*tensors)
