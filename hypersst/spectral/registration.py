"""Register a parametrization so that copies and checkpoints of the module keep working."""

from __future__ import annotations

import copy
import sys
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

__all__ = ["register"]


def _deepcopy(self: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Copy the module and its class."""
    cls = type(self)
    own: type[nn.Module] = type(cls.__name__, cls.__bases__, dict(cls.__dict__))
    replica = object.__new__(own)
    memo[id(self)] = replica
    replica.__dict__ = copy.deepcopy(self.__dict__, memo)
    return replica


def register(module: nn.Module, name: str, parametrization: nn.Module) -> None:
    """Do what `torch.nn.utils.parametrize.register_parametrization` does, and mend the class that it injects.

    Deep copies get a class of their own: in torch they share the original's, so that undoing the parametrization of
    a copy takes the weight away from the original. And PyG's `Linear` writes its weight into checkpoints itself,
    which a parametrized one could not load. A gradient that the parameter had when it was a weight of another shape is
    dropped: no optimizer could step it.
    """
    parametrize.register_parametrization(module, name, parametrization)
    original: Any = module.parametrizations[name].original  # type: ignore[index,union-attr]
    if original.grad is not None and original.grad.shape != original.shape:
        original.grad = None
    cls: Any = type(module)
    cls.__deepcopy__ = _deepcopy
    # Without PyG imported no module can be one of its, and importing it takes seconds.
    pyg = sys.modules.get("torch_geometric.nn.dense.linear")
    if pyg and cls._save_to_state_dict is pyg.Linear._save_to_state_dict:
        cls._save_to_state_dict = nn.Module._save_to_state_dict
