"""Learning rates that rise after each restart, as a factor around the step that no scheduler ever sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["RateFactor", "linear_warmup"]


def linear_warmup(position: int, length: int) -> float:
    """Factor in (0, 1] of the step that follows ``position`` others since the restart; 1 where ``length`` is 0."""
    return min(1.0, (position + 1) / length) if length else 1.0


class RateFactor:
    """Scales the learning rates of some groups before a step and restores them after it.

    Rates that are tensors are scaled in place, since a captured or compiled step holds on to them. Where torch let
    several groups share one tensor, a group gets a copy of its own.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._saved: dict[int, Any] = {}

    def apply(self, factors: Mapping[int, float]) -> None:
        """Multiply the rate of each group, by its number, with its factor."""
        self.restore()  # a step that raised half-way never came to its end
        for number, factor in factors.items():
            if factor == 1.0:
                continue
            group = self._optimizer.param_groups[number]
            lr = group["lr"]
            if isinstance(lr, Tensor):
                if sum(other["lr"] is lr for other in self._optimizer.param_groups) > 1:
                    lr = group["lr"] = lr.clone()
                self._saved[number] = lr.clone()
                lr.mul_(factor)
            else:
                self._saved[number] = lr
                group["lr"] = lr * factor

    def restore(self) -> None:
        """Bring back the rates as they were before `apply`."""
        for number, lr in self._saved.items():
            group = self._optimizer.param_groups[number]
            if isinstance(lr, Tensor):
                group["lr"].copy_(lr)
            else:
                group["lr"] = lr
        self._saved.clear()
