"""Riemannian gradient descent over batches of points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypersst.optim.batches import Batch, PlainBatch, PointBatch
from hypersst.optim.riemannian_optimizer import RiemannianOptimizer
from hypersst.optim.sgd_rules import SGDSettings, sgd_plain_, sgd_points_

__all__ = ["RiemannianSGD"]


class RiemannianSGD(RiemannianOptimizer):
    r"""Gradient descent with momentum for points on manifolds and plain parameters, stepping equal kinds together.

    A drop-in `geoopt.optim.RiemannianSGD`, with the departures of `RiemannianAdam` and one more: momentum begins with
    the Riemannian gradient, as `torch.optim.SGD`'s does. geoopt's begins with the *Euclidean* gradient, which is not
    tangent, and then adds the Riemannian one: the first gradient counts :math:`1 + \mu - \tau` times. From equal
    momentum both make equal steps.

    Source: S. Bonnabel, *Stochastic gradient descent on Riemannian manifolds*, 2013.

    Args:
        params: Parameters, or groups of them; groups may set every option below, and ``manifold``.
        lr: Learning rate, a number or a tensor.
        momentum: Weight :math:`\mu` of the past.
        dampening: The weight of a gradient in the momentum is :math:`1 - \tau`, but 1 for the first.
        weight_decay: L2 in the gradient of plain parameters, as in `torch.optim.SGD`; must be 0 for points.
        nesterov: Step along :math:`g + \mu b` instead of the momentum b.
        stabilize: Project points and momentum back onto their manifold every so many steps; None for never.
        maximize: Climb instead of descending.
        foreach: False to step parameters one by one.
        capturable: Nothing is counted here: a CUDA graph can hold the step if ``lr`` is a tensor.
        differentiable: Must be False.
        unit: ``"radians"``: a step is ``lr`` times the Riemannian gradient, as in geoopt. ``"elements"``: as gradient
            descent in the coordinates would be; the same on sphere and Stiefel. See ``hypersst/optim/units.py``.

    Raises:
        ValueError: If an option is out of range, a group with weight decay holds points, or parameter and group name
            two manifolds.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        stabilize: int | None = None,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        unit: str = "radians",
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "stabilize": stabilize,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "unit": unit,
            },
        )

    def _check(self, group: dict[str, Any]) -> None:
        if not group["momentum"] >= 0.0:
            raise ValueError(f"`momentum` must not be negative, got {group['momentum']}.")
        if group["nesterov"] and (not group["momentum"] > 0.0 or group["dampening"] != 0.0):
            raise ValueError(
                f"`nesterov` needs a positive `momentum` and zero `dampening`, got {group['momentum']} and "
                f"{group['dampening']}."
            )
        super()._check(group)

    def _moments(self, group: dict[str, Any]) -> dict[str, bool]:
        return {"momentum_buffer": False} if group["momentum"] else {}

    def _stabilizes(self, group: dict[str, Any]) -> bool:
        group["step"] = group.get("step", 0) + 1
        return bool(group["step"] % group["stabilize"] == 0)

    @staticmethod
    def _settings(group: dict[str, Any]) -> SGDSettings:
        return SGDSettings(
            group["lr"], group["momentum"], group["dampening"], group["nesterov"], group["unit"] == "elements"
        )

    @staticmethod
    def _fresh(batch: Batch, index: list[int] | None) -> list[bool]:
        """Which parameters begin with this step."""
        numbers = range(len(batch.params)) if index is None else index
        fresh = [batch.fresh[i] for i in numbers]
        for i in numbers:
            batch.fresh[i] = False
        return fresh

    def _step_points(
        self, group: dict[str, Any], batch: PointBatch, index: list[int] | None, x: Tensor, grad: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        moments = batch.take(index)
        fresh = None
        if group["dampening"]:
            fresh = torch.tensor(self._fresh(batch, index), device=x.device)
        new = sgd_points_(batch.manifold, x, grad, moments.get("momentum_buffer"), fresh, self._settings(group))
        return new, moments

    def _step_plain(
        self, group: dict[str, Any], batch: PlainBatch, index: list[int] | None, grads: list[Tensor]
    ) -> None:
        numbers = range(len(batch.params)) if index is None else index
        params = [batch.parts[i] for i in numbers]
        buffers = batch.moments.get("momentum_buffer")
        if buffers is not None:
            buffers = [buffers[i] for i in numbers]
        steps: Any = grads
        if group["maximize"]:
            steps = torch._foreach_neg(steps)
        if group["weight_decay"]:
            steps = torch._foreach_add(steps, params, alpha=group["weight_decay"])
        sgd_plain_(params, steps, buffers, self._fresh(batch, index), self._settings(group))
