"""How the learning rate goes over a run: a factor for each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

__all__ = ["GRAPH_SCHEDULES", "SCHEDULES", "factor"]

_LOWEST = 0.1


def _constant(step: int, warmup: int, steps: int) -> float:
    return 1.0


def _cosine(step: int, warmup: int, steps: int) -> float:
    share = (step - warmup) / max(1, steps - warmup)
    return _LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _linear(step: int, warmup: int, steps: int) -> float:
    return (steps + 1 - step) / max(1, steps - warmup)


def _noam(step: int, warmup: int, steps: int) -> float:
    return math.sqrt(max(1, warmup) / step)


SCHEDULES: Mapping[str, Callable[[int, int, int], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "noam": _noam,
}
"""What comes after the warm-up, by name: functions of the step, the steps of warm-up and all steps."""

GRAPH_SCHEDULES = ("constant", "cosine", "linear")
"""Those that need no warm-up; on graphs a step of them is an epoch."""


def factor(schedule: str, step: int, warmup: int, steps: int) -> float:
    r"""The share of the largest learning rate in one step.

    With ``warmup`` :math:`w` and ``steps`` :math:`T` it is :math:`t / w` up to step w, and then 1 (constant),
    :math:`\sqrt{w / t}` (noam), :math:`0.1 + 0.45\,(1 + \cos(\pi (t - w)/(T - w)))` (cosine) or
    :math:`(T + 1 - t)/(T - w)` (linear), which is at most 1 from step w + 1 on.

    Source: Vaswani et al. (2017), *Attention Is All You Need*, section 5.3, for noam; its rate
    :math:`d^{-1/2} w^{-1/2}` at step w is here given as the learning rate.

    Args:
        schedule: A name in `SCHEDULES`.
        step: The step, counted from 1.
        warmup: Steps of warm-up, 0 for none.
        steps: Steps of the run.

    Returns:
        A number in (0, 1].

    Example:
        >>> [factor("noam", step, 4, 100) for step in (1, 2, 4, 16)]
        [0.25, 0.5, 1.0, 0.5]
    """
    return step / warmup if step <= warmup else SCHEDULES[schedule](step, warmup, steps)
