"""Riemannian Adam over batches of points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.optim.adam_rules import AdamSettings, adam_plain_, adam_points_, bias_correction
from hypersst.optim.ball_adam import adam_ball_
from hypersst.optim.batches import PlainBatch, PointBatch
from hypersst.optim.compiled_rules import CompiledRules
from hypersst.optim.lorentz_adam import adam_lorentz_
from hypersst.optim.riemannian_optimizer import RiemannianOptimizer

__all__ = ["RiemannianAdam"]

# Manifolds with a rule of their own, which equals the general one. Subclasses may have other verbs.
_RULES: dict[type, Any] = {Lorentz: adam_lorentz_, PoincareBall: adam_ball_}
# Where torch has one kernel for the whole step of plain parameters.
_FUSED_DEVICES = ("cpu", "cuda")


class RiemannianAdam(RiemannianOptimizer):
    r"""Adam for points on manifolds and plain parameters, stepping all points of one manifold and shape together.

    A drop-in `geoopt.optim.RiemannianAdam`: the same step to rounding, the same names of state. It differs in that

    * points of one manifold, shape, type and device are stepped as one tensor, plain parameters by torch's own kernel;
    * gradients stay as they are, and ``maximize``, ``foreach`` and ``capturable`` are honoured;
    * ``weight_decay`` of points is refused: L2 in the coordinates of a point has no meaning on its manifold;
    * ``exp_avg_sq`` holds one number per point (row of a sphere, hyperboloid or ball; matrix of Stiefel), where geoopt
      repeats it for each coordinate. States of either are loaded by the other.

    The manifold is that of the parameter (`geoopt.ManifoldParameter`), or ``group["manifold"]`` where a wrapper has
    replaced the parameter's class.

    Source: G. Bécigneul, O. Ganea, *Riemannian adaptive optimization methods*, 2019, algorithm 1.

    Args:
        params: Parameters, or groups of them; groups may set every option below, and ``manifold``.
        lr: Learning rate, a number or a tensor. For points the length of a step in radians, see ``unit``.
        betas: Decay rates of the two moments, in [0, 1).
        eps: Added to the denominator.
        weight_decay: L2 in the gradient of plain parameters, as in `torch.optim.Adam`; must be 0 for points.
        amsgrad: Divide by the largest second moment so far.
        stabilize: Project points and moments back onto their manifold every so many steps; None for never.
        maximize: Climb instead of descending.
        foreach: False to step parameters one by one.
        capturable: Count steps on the device, so that a CUDA graph can hold the step; ``lr`` should then be a tensor.
        differentiable: Must be False.
        unit: ``"radians"``: a step is about ``lr`` long in the metric of the manifold, as in geoopt. ``"elements"``:
            coordinates change by about ``lr`` in the root mean square, as element-wise Adam's would. See
            ``hypersst/optim/units.py``. Plain parameters are stepped element by element in either case.

    Raises:
        ValueError: If an option is out of range, a group with weight decay holds points, or parameter and group name
            two manifolds.

    Example:
        >>> import geoopt
        >>> sphere = geoopt.Sphere()
        >>> p = geoopt.ManifoldParameter(torch.tensor([[1.0, 0.0]]), manifold=sphere)
        >>> optimizer = RiemannianAdam([p], lr=0.1)
        >>> p.grad = torch.tensor([[0.0, -5.0]])
        >>> optimizer.step()
        >>> torch.atan2(p[0, 1], p[0, 0]).detach()  # the first step of Adam, retracted by x + u
        tensor(0.0997)
    """

    _counted = True
    _decoupled = False

    _rules: CompiledRules | None = None  # where updates of points are compiled; None if they are not

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
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
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "stabilize": stabilize,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "unit": unit,
            },
        )

    def compile(self) -> None:
        """Compile the update of points when they are first stepped.

        One kernel then takes the place of some ninety small operations, whose number and not whose size is what an
        update of few points costs. Results agree with those of the eager step to rounding.
        """
        self._rules = CompiledRules()

    def _check(self, group: dict[str, Any]) -> None:
        if not all(0.0 <= beta < 1.0 for beta in group["betas"]):
            raise ValueError(f"`betas` must be in [0, 1), got {tuple(group['betas'])}.")
        if not group["eps"] >= 0.0:
            raise ValueError(f"`eps` must not be negative, got {group['eps']}.")
        super()._check(group)

    def _moments(self, group: dict[str, Any]) -> dict[str, bool]:
        moments = {"exp_avg": False, "exp_avg_sq": True}
        return moments | {"max_exp_avg_sq": True} if group["amsgrad"] else moments

    def _stabilizes(self, group: dict[str, Any]) -> bool:
        every = group["stabilize"]
        return any((self.state[p]["step"] + 1) % every == 0 for p in group["params"] if p.grad is not None)

    def _settings(self, group: dict[str, Any], count: int | Tensor, dtype: torch.dtype) -> AdamSettings:
        first, second = group["betas"]
        return AdamSettings(
            lr=group["lr"],
            betas=(first, second),
            eps=group["eps"],
            corrections=(bias_correction(first, count, dtype), bias_correction(second, count, dtype)),
            elements=group["unit"] == "elements",
        )

    def _step_points(
        self, group: dict[str, Any], batch: PointBatch, index: list[int] | None, x: Tensor, grad: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        count = batch.advance(index)
        moments = batch.take(index)
        if isinstance(count, list):
            count = torch.tensor(count, dtype=torch.float64).to(x.device, torch.promote_types(x.dtype, torch.float32))
        if isinstance(count, Tensor):
            count = count.view(-1, *(1,) * (x.dim() - 1))
        settings = self._settings(group, count, x.dtype)
        general = settings.elements or x.dtype.itemsize < 4
        rule: Any = adam_points_ if general else _RULES.get(type(batch.manifold), adam_points_)
        points = (x, grad, moments["exp_avg"], moments["exp_avg_sq"], moments.get("max_exp_avg_sq"))
        if self._rules is not None:
            return self._rules(rule, batch.manifold, points, settings), moments
        return rule(batch.manifold, *points, settings), moments

    def _step_plain(
        self, group: dict[str, Any], batch: PlainBatch, index: list[int] | None, grads: list[Tensor]
    ) -> None:
        batch.advance(index)
        device, dtype = batch.parts[0].device, batch.parts[0].dtype
        fuse = device.type in _FUSED_DEVICES and dtype.is_floating_point and group["foreach"] is not False
        fused: dict[int | None, list[tuple[int, Tensor]]] = {}  # by count; None if counts are on the device
        for i, grad in zip(range(len(grads)) if index is None else index, grads, strict=True):
            count = batch.states[i]["step"]
            if fuse and grad.dtype == dtype and grad.is_contiguous() and batch.parts[i].is_contiguous():
                fused.setdefault(None if isinstance(count, Tensor) else count, []).append((i, grad))
            else:
                self._step_one(group, batch, i, grad, count)
        for count, members in fused.items():
            numbers = [i for i, _ in members]
            if count is None:
                steps = [batch.states[i]["step"] for i in numbers]
            else:
                steps = [torch.full((), float(count), device=device)] * len(numbers)
            moments = {name: [tensors[i] for i in numbers] for name, tensors in batch.moments.items()}
            kernel = torch._fused_adamw_ if self._decoupled else torch._fused_adam_
            kernel(
                [batch.parts[i] for i in numbers],
                [grad for _, grad in members],
                moments["exp_avg"],
                moments["exp_avg_sq"],
                moments.get("max_exp_avg_sq", []),
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=group["amsgrad"],
                maximize=group["maximize"],
            )
            # The kernel does not, and caches of whoever reads the parameters ask.
            for i in numbers:
                torch.autograd.graph.increment_version(batch.parts[i])

    def _step_one(self, group: dict[str, Any], batch: PlainBatch, i: int, grad: Tensor, count: int | Tensor) -> None:
        """Step a plain parameter that torch's kernel does not take."""
        parameter, decay = batch.parts[i], group["weight_decay"]
        moments = {name: tensors[i] for name, tensors in batch.moments.items()}
        if group["maximize"]:
            grad = -grad
        if decay and self._decoupled:
            parameter.mul_(1.0 - group["lr"] * decay)
        elif decay:
            grad = grad.add(parameter, alpha=decay)
        adam_plain_(
            parameter,
            grad,
            moments["exp_avg"],
            moments["exp_avg_sq"],
            moments.get("max_exp_avg_sq"),
            self._settings(group, count, parameter.dtype),
        )
