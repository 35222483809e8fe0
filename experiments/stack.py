"""Several models of one architecture as one: every tensor with a leading axis, evaluated by `torch.vmap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from hypersst.experiments.functional import Functional
from hypersst.models import GraphModel
from hypersst.nn.dropout import copies_draw_from
from hypersst.tracing import compiled, recording

__all__ = ["Stack", "StackedPass", "clip_norms_", "release"]


class Stack:
    """Parameters and buffers of several models along a leading axis; the models keep views of their own.

    What writes into a parameter of a model in place (optimizers, samplers, checkpoints) is seen by the stack. A
    curvature that is not learned is not stacked, see `Functional`: it stays one number, and features are lifted once.

    Args:
        models: Equal but for their numbers.

    Attributes:
        size: Number of models.
        evaluate: Calls a function with a model made of other tensors.
        tensors: By name, shape ``(size, *)`` each.
        trained: Names of those that need a gradient.
    """

    def __init__(self, models: Sequence[GraphModel]) -> None:
        members = [Functional(model) for model in models]
        self.size = len(models)
        self.evaluate = members[0]
        self.tensors: dict[str, Tensor] = {}
        self._members: dict[str, list[Tensor]] = {}
        for name in self.evaluate.tensors:
            own = [member.tensors[name] for member in members]
            stacked = torch.stack([tensor.detach().as_subclass(Tensor) for tensor in own])
            for tensor, view in zip(own, stacked.unbind(0), strict=True):
                tensor.data = view
            self.tensors[name], self._members[name] = stacked, own
        self.trained = [name for name, tensor in self.evaluate.tensors.items() if tensor.requires_grad]

    def hand_out(self, grads: Sequence[Tensor | None], numbers: Sequence[int]) -> None:
        """Make rows of stacked gradients the gradients of the parameters of the numbered models."""
        for name, grad in zip(self.trained, grads, strict=True):
            rows = None if grad is None else grad.unbind(0)
            for i in numbers:
                self._members[name][i].grad = None if rows is None else rows[i]


class StackedPass:
    """A function of every model of a `Stack`, evaluated for all at once, with gradients if it is a loss.

    The operators of `torch.vmap` and of the backward pass are recorded in the first call and replayed in later ones,
    without what Python does in between, which would be most of the time on small graphs. So the function must compute
    the same operators in each call.

    Args:
        stack: The models. Their training mode in the first call counts.
        function: Called with a model, and with a row of ``each`` if given; returns a tensor or a tuple of tensors.
        differentiate: Whether the function returns a scalar whose gradient is wanted.
        compiled: Whether to compile the record.
    """

    def __init__(
        self, stack: Stack, function: Callable[..., Any], *, differentiate: bool, compiled: bool = False
    ) -> None:
        self._stack, self._function = stack, function
        self._differentiate, self._compiled = differentiate, compiled
        self._replay: Callable[..., Any] | None = None

    def __call__(self, each: Tensor | None = None, generators: Sequence[torch.Generator] = ()) -> Any:
        """Evaluate the function.

        Args:
            each: An argument that differs from model to model, along its first axis.
            generators: Where dropout draws from, one for each model; none if nothing is dropped.

        Returns:
            What the function returns, each tensor with a leading axis; and, if it is differentiated, a list of the
            stacked gradients of ``stack.trained``, ``None`` for parameters that the loss does not depend on.
        """
        inputs = (*self._stack.tensors.values(), *(() if each is None else (each,)))
        if self._replay is None:
            states = [generator.get_state() for generator in generators]
            evaluate = self._evaluate(generators)
            evaluate(*inputs)  # what layers work out once and keep shall not be in the record
            if self._compiled:
                self._replay = compiled(evaluate, inputs)
            else:
                with recording():
                    self._replay = make_fx(evaluate)(*inputs)
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
        with torch.no_grad(), copies_draw_from(generators, inputs[0]):
            results = self._replay(*inputs)
        return (results[0], list(results[1:])) if self._differentiate else results

    def _evaluate(self, generators: Sequence[torch.Generator]) -> Callable[..., Any]:
        stack = self._stack

        def one(tensors: dict[str, Tensor], number: Tensor, *each: Tensor) -> Any:
            with copies_draw_from(generators, number):
                return stack.evaluate(self._function, tensors, *each)

        def all_at_once(*inputs: Tensor) -> Any:
            named = dict(zip(stack.tensors, inputs, strict=False))
            each = inputs[len(named) :]
            number = torch.arange(stack.size, device=inputs[0].device)
            if not self._differentiate:
                with torch.no_grad():
                    return torch.vmap(one, randomness="different")(named, number, *each)
            named |= {name: named[name].detach().requires_grad_() for name in stack.trained}
            losses = torch.vmap(one, randomness="different")(named, number, *each)
            grads = torch.autograd.grad(losses.sum(), [named[name] for name in stack.trained], allow_unused=True)
            # Optimizers are faster on contiguous gradients.
            return losses.detach(), *(grad if grad is None else grad.contiguous() for grad in grads)

        return all_at_once


def clip_norms_(grads: Sequence[Tensor | None], largest: float) -> Tensor:
    """`torch.nn.utils.clip_grad_norm_` of each model, in place.

    Args:
        grads: Stacked gradients, shape ``(S, *)`` each.
        largest: Largest norm; infinite for no limit.

    Returns:
        Norms before, shape ``(S,)``.
    """
    present = [grad for grad in grads if grad is not None]
    each = torch.stack([torch.linalg.vector_norm(grad.reshape(len(grad), -1), dim=1) for grad in present])
    norms = torch.linalg.vector_norm(each, dim=0)
    if largest < torch.inf:
        factor = (largest / (norms + 1e-6)).clamp_max(1.0)  # as torch's
        for grad in present:
            grad.mul_(factor.view(-1, *(1,) * (grad.dim() - 1)))
    return norms


def release(model: nn.Module) -> None:
    """Give the model of a `Stack` memory of its own again, so that it stays as it is."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
