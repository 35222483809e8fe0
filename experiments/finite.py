"""Find where a network became non-finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hypersst.sharding import whole

__all__ = ["first_non_finite"]


def first_non_finite(model: nn.Module, loss: Callable[[], Tensor]) -> str:
    """Say which part of ``model`` is the first with a value that is not finite.

    Parameters are looked at first, then the outputs of the layers (in one more pass, in the order of the computation),
    then the gradients that are there.

    Args:
        model: The network, after a backward pass.
        loss: Evaluates it once more.

    Returns:
        A description that names the layer, such as ``"the output of layers.0.lin"``.
    """
    # Of sharded ones every process gathers all, whatever it has found by itself.
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        if not torch.isfinite(whole(parameter)).all():
            return f"parameter {name}"
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not found and not torch.isfinite(output).all():
                found.append(name)

        return hook

    leaves_first = [(name, module) for name, module in model.named_modules() if name]
    handles = [module.register_forward_hook(watch(name)) for name, module in leaves_first]
    try:
        with torch.no_grad():
            value = loss()
    finally:
        for handle in handles:
            handle.remove()
    grads = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    bad = [name for name, grad in grads.items() if not torch.isfinite(whole(grad)).all()]
    if found:
        return f"the output of {found[0]}"
    if bad:
        return f"the gradient of {bad[0]}"
    return "the loss" if not torch.isfinite(value) else "the norm of the gradient"
