r"""ReLoRA*: LoRA that is merged and begun anew every so often.

It is ReLoRA (Lialin et al., 2023) as the SST paper defines it for its comparison: no full-rank warm start; at every
restart ``BA`` is merged into :math:`W_0`, ``B`` set to zero and ``A`` drawn anew from a Gaussian, and *all* optimizer
state of both is cleared. Right after a restart :math:`\partial L/\partial A = B^\top G = 0`: each begins at a saddle.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from hypersst.lowrank.lora import lora_weights
from hypersst.spectral.draws import named_generator, stable_name
from hypersst.spectral.optimizer_state import clear_state, keep_counts_exact
from hypersst.spectral.warmup import RateFactor, linear_warmup

__all__ = ["ReLoRA"]


class ReLoRA:
    """Restart the low-rank parts of a model after every ``steps_per_restart`` steps of an optimizer.

    It works through the optimizer's step hooks. The draws of ``A`` depend on (seed, name of the weight, restart) alone,
    so a resumed run equals the unbroken one.

    Args:
        model: A model that went through `hypersst.lowrank.lora`.
        optimizer: An optimizer that holds its trainable parameters.
        steps_per_restart: Optimizer steps between restarts.
        warmup_steps: Steps over which the learning rate of groups with low-rank parameters rises linearly after each.
        seed: Seed of all draws.

    Raises:
        ValueError: If the model has no low-rank weight, the optimizer lacks one of theirs, or a number is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        steps_per_restart: int = 200,
        warmup_steps: int = 20,
        seed: int = 0,
    ) -> None:
        if steps_per_restart < 1:
            raise ValueError(f"`steps_per_restart` must be at least 1, got {steps_per_restart}.")
        if warmup_steps < 0:
            raise ValueError(f"`warmup_steps` must be at least 0, got {warmup_steps}.")
        self.optimizer = optimizer
        self.steps_per_restart = steps_per_restart
        self.warmup_steps = warmup_steps
        self.seed = seed
        self._step = 0
        self._weights = lora_weights(model)
        if not self._weights:
            raise ValueError(f"`model` must have low-rank weights, but {type(model).__name__} has none: use `lora`.")
        own = {id(p) for w in self._weights for p in (w.lora.a, w.lora.b)}
        groups = optimizer.param_groups
        if not own <= {id(p) for group in groups for p in group["params"]}:
            raise ValueError("`optimizer` must hold the low-rank parameters: build it after `lora`.")
        self._groups = [n for n, group in enumerate(groups) if any(id(p) in own for p in group["params"])]
        self._rates = RateFactor(optimizer)
        self._handles: list[RemovableHandle] = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
            keep_counts_exact(optimizer),
        ]

    @property
    def step_count(self) -> int:
        """Optimizer steps seen so far."""
        return self._step

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.begin_step()

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.end_step()

    def begin_step(self) -> None:
        """What the optimizer's hook does before a step; to be called where other code takes that step."""
        factor = linear_warmup(self._step % self.steps_per_restart, self.warmup_steps)
        self._rates.apply(dict.fromkeys(self._groups, factor))

    def end_step(self) -> None:
        """What the optimizer's hook does after a step."""
        self._rates.restore()
        self._step += 1
        if self._step % self.steps_per_restart:
            return
        for weight in self._weights:
            restart = self._step // self.steps_per_restart
            weight.lora.restart(weight.frozen, named_generator(self.seed, stable_name(weight.name), restart))
            clear_state(self.optimizer, weight.lora.a)
            clear_state(self.optimizer, weight.lora.b)

    def state_dict(self) -> dict[str, Any]:
        """Counter and seed: all that a resumed run needs beside model and optimizer."""
        return {"step": self._step, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._step = int(state["step"])
        self.seed = int(state["seed"])

    def detach(self) -> None:
        """Take the hooks off the optimizer; the model stays low-rank."""
        self._rates.restore()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __repr__(self) -> str:
        return (
            f"ReLoRA({len(self._weights)} weights; step {self._step}; steps_per_restart={self.steps_per_restart}, "
            f"warmup_steps={self.warmup_steps}, seed={self.seed})"
        )
