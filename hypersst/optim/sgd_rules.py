r"""Gradient descent with momentum for points and plain parameters, on plain tensors.

Source: S. Bonnabel, *Stochastic gradient descent on Riemannian manifolds*, 2013; momentum, dampening and Nesterov's
variant as in `torch.optim.SGD`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypersst.optim.units import length_ratio

__all__ = ["SGDSettings", "sgd_plain_", "sgd_points_"]


class SGDSettings(NamedTuple):
    """Numbers of a step.

    Args:
        lr: Learning rate.
        momentum: Weight of the past.
        dampening: What the weight of a gradient in the momentum falls short of one; the first gradient has weight one.
        nesterov: Look ahead along the momentum.
        elements: Whether ``lr`` counts in elements, see Note [radians and elements].
    """

    lr: float | Tensor
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    elements: bool = False


def sgd_points_(
    manifold: Any, x: Tensor, grad: Tensor, momentum_buffer: Tensor | None, fresh: Tensor | None, settings: SGDSettings
) -> Tensor:
    r"""One step of points on any geoopt manifold.

    With the Riemannian gradient g: :math:`b \leftarrow \mu b + (1-\tau) g`, the point follows the retraction along
    :math:`-\eta b` (Nesterov: :math:`-\eta(g + \mu b)`), and b is transported with it.

    Args:
        manifold: The manifold.
        x: Points, shape ``(N, *)``.
        grad: Euclidean gradients in the same shape; some manifolds overwrite them.
        momentum_buffer: Tangent vectors b at x, updated in place to ones at the new points; None without momentum.
        fresh: Which points begin, shape ``(N,)``: their momentum is g without dampening; None if all or none do.
        settings: Numbers of the step.

    Returns:
        New points.
    """
    grad = manifold.egrad2rgrad(x, grad)
    if momentum_buffer is None:
        step = grad
    else:
        weighted = grad * (1.0 - settings.dampening) if settings.dampening else grad
        if settings.dampening and fresh is not None:
            weighted = torch.where(fresh.view(-1, *(1,) * (x.dim() - 1)), grad, weighted)
        momentum_buffer.mul_(settings.momentum).add_(weighted)
        step = grad + momentum_buffer * settings.momentum if settings.nesterov else momentum_buffer
    step = step * -settings.lr
    if settings.elements:
        step *= length_ratio(manifold, x, step).square()
    if momentum_buffer is None:
        return manifold.retr(x, step)
    points, transported = manifold.retr_transp(x, step, momentum_buffer)
    momentum_buffer.copy_(transported)
    return points


def sgd_plain_(
    params: list[Tensor],
    grads: list[Tensor],
    momentum_buffers: list[Tensor] | None,
    fresh: Sequence[bool],
    settings: SGDSettings,
) -> None:
    """One step of plain parameters, in place, as by `torch.optim.SGD`.

    Args:
        params: Parameters.
        grads: Their gradients.
        momentum_buffers: Their momentum, zero for those that begin, updated in place; None without momentum.
        fresh: Which of them begin.
        settings: Numbers of the step.
    """
    steps: Any = grads
    if momentum_buffers is not None:
        weighted: Any = grads
        if settings.dampening:
            weighted = torch._foreach_mul(grads, [1.0 if new else 1.0 - settings.dampening for new in fresh])
        torch._foreach_mul_(momentum_buffers, settings.momentum)
        torch._foreach_add_(momentum_buffers, weighted)
        steps = momentum_buffers
        if settings.nesterov:
            steps = torch._foreach_add(grads, momentum_buffers, alpha=settings.momentum)
    if isinstance(settings.lr, Tensor):
        torch._foreach_add_(params, torch._foreach_mul(steps, -settings.lr))
    else:
        torch._foreach_add_(params, steps, alpha=-settings.lr)
