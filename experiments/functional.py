"""A model as a function of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import geoopt
import torch
from torch import Tensor, nn

__all__ = ["Functional"]


class _Call(nn.Module):
    """A model under the name ``model``, which a function is applied to: `functional_call` wants a forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self.model, *args)


class Functional:
    """Evaluates functions of a model with other tensors in the places of its parameters and buffers.

    A tensor has one name, however many modules hold it and however many paths lead to a module. Buffers of manifolds
    have none: they are numbers given by the settings, such as a curvature that is not learned.

    Args:
        model: Any module; it is left as it is.
    """

    def __init__(self, model: nn.Module) -> None:
        self._call = _Call(model)
        fixed = {
            id(buffer)
            for module in model.modules()
            if isinstance(module, geoopt.Manifold)
            for buffer in module.buffers(recurse=False)
        }
        #: The tensors, parameters first, by name.
        self.tensors = {
            name: t for name, t in (*model.named_parameters(), *model.named_buffers()) if id(t) not in fixed
        }
        names = {id(tensor): name for name, tensor in self.tensors.items()}
        self._places = {
            f"{prefix}.{name}": names[id(tensor)]
            for prefix, module in self._call.named_modules()
            for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            if id(tensor) not in fixed
        }

    def __call__(self, function: Callable[..., Any], tensors: Mapping[str, Tensor], *args: Any) -> Any:
        """Return ``function(model, *args)`` for a model that consists of ``tensors``, one for each name."""
        placed = {place: tensors[name] for place, name in self._places.items()}
        # Ties are known here. Where a module is reached by several paths, torch, looking for them, would not put all of
        # the model's own tensors back.
        return torch.func.functional_call(self._call, placed, (function, *args), tie_weights=False)
