"""Riemannian Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import geoopt
import torch
from geoopt.optim.mixin import OptimMixin
from torch import Tensor

__all__ = ["RiemannianAdamW"]


class RiemannianAdamW(geoopt.optim.RiemannianAdam):
    r"""geoopt's Riemannian Adam, with :math:`w \leftarrow (1 - \eta\lambda)\,w` in place of L2 in the gradient.

    The decay concerns plain parameters only: a point of a manifold has no "towards zero", so a group that holds one
    must have no decay (`hypersst.param_groups` sees to that). Plain parameters are stepped as by `torch.optim.AdamW`.

    Source: Bécigneul and Ganea (2019), Riemannian Adaptive Optimization Methods, algorithm 1; Loshchilov and Hutter
    (2019), Decoupled Weight Decay Regularization, algorithm 2.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay rates of the two moments, in [0, 1).
        eps: Added to the denominator.
        weight_decay: The factor :math:`\lambda` of plain parameters.

    Raises:
        ValueError: If a group with weight decay holds a manifold parameter, or a number is out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as `torch.optim.Optimizer.add_param_group` does."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        points = [p for p in group["params"] if isinstance(p, geoopt.ManifoldParameter)]
        if group["weight_decay"] and points:
            raise ValueError(
                f"`weight_decay` must be 0 in a group with points on {points[0].manifold.name}, got "
                f"{group['weight_decay']}: split the parameters with `hypersst.param_groups`."
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; the next step equals that of the optimizer it was taken from, bit for bit."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            # torch makes counts float32 tensors, in which geoopt's bias correction would be rounded.
            state["step"] = int(state["step"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Make one step; ``closure`` evaluates the loss anew if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        decays = [group["weight_decay"] for group in self.param_groups]
        try:
            for group, decay in zip(self.param_groups, decays, strict=True):
                if decay:
                    for p in group["params"]:
                        if p.grad is not None:
                            p.mul_(1.0 - group["lr"] * decay)
                group["weight_decay"] = 0.0  # for the base class, whose decay is L2 in the gradient
            super().step()
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
        return loss


assert issubclass(RiemannianAdamW, OptimMixin)  # what `hypersst.spectral` recognises optimizers of geoopt by
