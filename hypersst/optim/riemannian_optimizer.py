"""What the Riemannian optimizers share: checks, groups, checkpoints, and the walk over batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from geoopt.optim.mixin import OptimMixin
from torch import Tensor

from hypersst.optim.batches import PlainBatch, PointBatch
from hypersst.optim.plan import Plan
from hypersst.optim.point_manifold import manifold_of
from hypersst.optim.units import UNITS
from hypersst.sharding import own

__all__ = ["RiemannianOptimizer"]


class RiemannianOptimizer(OptimMixin, torch.optim.Optimizer):
    """Base of optimizers that step all parameters of one manifold and shape as one tensor.

    A subclass says what it remembers (`_moments`, `_counted`) and how a batch steps (`_step_plain`, `_step_points`).

    Args:
        params: Parameters, or groups of them.
        defaults: Options of groups that do not say otherwise.
    """

    #: A group may name the ``manifold`` of its parameters.
    reads_manifold = True

    _counted = False  # whether the state of a parameter counts its steps
    _stabilize: int | None = None  # what geoopt's mixin reads, also in copies, which its constructor never saw

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._plans: dict[int, Plan] = {}
        super().__init__(params, defaults)

    # -- what subclasses say -------------------------------------------------------------------------------------

    def _moments(self, group: dict[str, Any]) -> dict[str, bool]:
        """Names of what is remembered of each parameter, and whether it is one number per point."""
        raise NotImplementedError

    def _step_plain(
        self, group: dict[str, Any], batch: PlainBatch, index: list[int] | None, grads: list[Tensor]
    ) -> None:
        raise NotImplementedError

    def _step_points(
        self, group: dict[str, Any], batch: PointBatch, index: list[int] | None, x: Tensor, grad: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """New points, and what is remembered of them."""
        raise NotImplementedError

    def _stabilizes(self, group: dict[str, Any]) -> bool:
        """Whether this step ends on a projection."""
        raise NotImplementedError

    def _check(self, group: dict[str, Any]) -> None:
        """Raise if options of a group are out of range or do not go together."""
        lr = group["lr"]
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"`lr` must be one number, got a tensor of shape {tuple(lr.shape)}.")
        for name in ("lr", "weight_decay"):
            # A rate on a device is not asked for its value: that would wait for the device.
            if not isinstance(group[name], Tensor) and not group[name] >= 0:
                raise ValueError(f"`{name}` must not be negative, got {group[name]}.")
        if group["unit"] not in UNITS:
            raise ValueError(f"`unit` must be one of {', '.join(UNITS)}, got {group['unit']!r}.")
        if group["differentiable"]:
            raise ValueError(
                f"`differentiable` must be False: {type(self).__name__} steps in place. Write the unrolled step with "
                f"the manifold's verbs instead."
            )
        every = group["stabilize"]
        if every is not None and every < 1:
            raise ValueError(f"`stabilize` must be at least 1 or None, got {every}.")
        if every is not None and group["capturable"]:
            raise ValueError("`stabilize` must be None with `capturable`, whose steps are counted on the device.")
        manifolds = [manifold_of(parameter, group) for parameter in group["params"]]
        points = [manifold for manifold in manifolds if manifold is not None]
        if group["weight_decay"] and points:
            raise ValueError(
                f"`weight_decay` must be 0 in a group with points on {points[0].name}, got {group['weight_decay']}: "
                f"split the parameters with `hypersst.param_groups`."
            )

    # -- torch's interface ---------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as `torch.optim.Optimizer.add_param_group` does; it may name the ``manifold`` of its points."""
        param_group.setdefault("stabilize", self.defaults["stabilize"])  # before geoopt's mixin does, with None
        super().add_param_group(param_group)
        try:
            self._check(self.param_groups[-1])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plans = {}
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def state_dict(self) -> dict[str, Any]:
        """State of all parameters and options of all groups, but for manifolds, which belong to the model."""
        state = super().state_dict()
        for group in state["param_groups"]:
            group.pop("manifold", None)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; the next step equals that of the optimizer it was taken from, bit for bit.

        States of geoopt's optimizers are understood too.
        """
        manifolds = [group.get("manifold") for group in self.param_groups]
        super().load_state_dict(state_dict)
        # torch keeps tensors of the dictionary where it can, and a step would change the caller's.
        for state in self.state.values():
            state.update({name: entry.clone() for name, entry in state.items() if isinstance(entry, Tensor)})
        for group, manifold in zip(self.param_groups, manifolds, strict=True):
            if manifold is not None:
                group["manifold"] = manifold
            self._check(group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; ``closure`` evaluates the loss anew if given."""
        capturing = torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
        if capturing and not all(group["capturable"] for group in self.param_groups):
            raise RuntimeError("A CUDA graph can hold a step only if `capturable` is True in every group.")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            plan = self._plan(number, group)
            if not plan.batches:
                continue
            stabilize = group["stabilize"] is not None and self._stabilizes(group)
            for batch in plan.batches:
                index, grads = batch.gradients()
                if not grads:
                    continue
                if isinstance(batch, PlainBatch):
                    self._step_plain(group, batch, index, grads)
                    continue
                assert isinstance(batch, PointBatch)
                if not batch.parts[0].numel():  # all rows are in other processes
                    if self._counted:
                        batch.advance(index)
                    continue
                # A copy in any case: nobody's gradient is changed.
                grad = torch.stack(grads)
                if group["maximize"]:
                    grad.neg_()
                x = batch.points(index)
                with torch.inference_mode() if batch.known else nullcontext():
                    x, moments = self._step_points(group, batch, index, x, grad)
                    if stabilize:
                        x = batch.manifold.projx(x)
                        self._project(batch.manifold, x, moments)
                batch.put(index, moments)
                batch.write(index, x)
        return loss

    def _plan(self, number: int, group: dict[str, Any]) -> Plan:
        moments = self._moments(group)
        plan = self._plans.get(number)
        if plan is None or not plan.holds(group, self.state, moments):
            self._check(group)
            plan = self._plans[number] = Plan(group, self.state, moments, self._counted)
        return plan

    @staticmethod
    def _project(manifold: Any, x: Tensor, moments: dict[str, Tensor]) -> None:
        """Make the remembered tangent vectors tangent at x again."""
        for name in ("exp_avg", "momentum_buffer"):
            if name in moments:
                moments[name].copy_(manifold.proju(x, moments[name]))

    @torch.no_grad()
    def stabilize_group(self, group: dict[str, Any]) -> None:
        """Project the points of a group onto their manifolds, and what is remembered of them onto tangent spaces."""
        for parameter in group["params"]:
            manifold = manifold_of(parameter, group)
            if manifold is not None:
                part = own(parameter)
                part.copy_(manifold.projx(part))
                moments = self.state.get(parameter, {})
                self._project(manifold, part, {n: own(m) for n, m in moments.items() if isinstance(m, Tensor)})
