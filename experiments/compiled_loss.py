"""The loss of a run and its gradients as one compiled graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hypersst.experiments.batches import Batch
from hypersst.experiments.functional import Functional
from hypersst.experiments.passes import training_loss
from hypersst.models import GraphModel
from hypersst.tracing import compiled, compiles_sums

__all__ = ["CompiledLoss"]


class CompiledLoss:
    """Computes `training_loss` and its gradients in one compiled graph, forward and backward fused.

    The first call records the operators of both passes and compiles the record. Its random numbers are those of the
    eager pass (on a CPU), so a compiled run differs from an eager one by rounding. What optimizers and samplers write
    into parameters and buffers is seen, whether they write in place or exchange the memory.

    Args:
        model: Its training mode in the first call counts.
        largest_norm: Longer gradients (over all parameters) are shortened to this length, as
            `torch.nn.utils.clip_grad_norm_` does; infinite for no limit.

    Raises:
        ValueError: Before torch 2.8, whose compiled gradients were wrong.
    """

    def __init__(self, model: GraphModel, largest_norm: float) -> None:
        if not compiles_sums():
            raise ValueError("`compile` must be False before torch 2.8, whose compiled sums over edges were wrong.")
        self._model = Functional(model)
        self._largest_norm = largest_norm
        self._trained = [name for name, tensor in self._model.tensors.items() if tensor.requires_grad]
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Evaluate the loss and leave gradients in the parameters.

        Args:
            batch: The same in every call, but for its negative edges, whose number must be the same too.

        Returns:
            The loss and the length that the gradient had, two scalars.
        """
        tensors = [tensor.detach().as_subclass(Tensor) for tensor in self._model.tensors.values()]
        if self._compiled is None:
            self._compiled = self._compile(batch, tensors)
        loss, norm, *grads = self._compiled(*tensors, batch.negative)
        for name, grad in zip(self._trained, grads, strict=True):
            self._model.tensors[name].grad = grad
        return loss, norm

    def _compile(self, batch: Batch, tensors: list[Tensor]) -> Callable[..., Any]:
        def gradients(*tensors: Tensor) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            *numbers, negative = tensors
            named = dict(zip(self._model.tensors, numbers, strict=True))
            named |= {name: named[name].detach().requires_grad_() for name in self._trained}
            loss = self._model(training_loss, named, replace(batch, negative=negative))
            return loss.detach(), torch.autograd.grad(loss, [named[n] for n in self._trained], allow_unused=True)

        def evaluate(*tensors: Tensor) -> tuple[Tensor, ...]:
            loss, grads = gradients(*tensors)
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads]))
            if self._largest_norm < torch.inf:
                factor = (self._largest_norm / (norm + 1e-6)).clamp_max(1.0)  # as torch's
                grads = tuple(grad * factor for grad in grads)
            # Where sparse products make a gradient transposed, the optimizer would copy it in every step.
            return loss, norm, *(grad.contiguous() for grad in grads if grad is not None)

        inputs = (*tensors, batch.negative)
        device = batch.negative.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            # Once for what layers work out at first and keep, and which would else be in the record.
            _, grads = gradients(*inputs)
            self._trained = [name for name, grad in zip(self._trained, grads, strict=True) if grad is not None]
            return compiled(evaluate, inputs)
