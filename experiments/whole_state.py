"""Weights shared out among processes, and the whole state that a checkpoint keeps of them.

Checkpoints are those of a single process: plain tensors under the same names, so that a run may go on sharded or not.
All processes gather and load together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hypersst.sharding import is_sharded, own, own_part, put, sharded_like, whole

__all__ = [
    "any_sharded",
    "clip_gradients",
    "load_optimizer_state",
    "load_state",
    "merged_state",
    "shard",
    "whole_optimizer_state",
    "whole_state",
]


def shard(model: nn.Module, blocks: Iterable[nn.Module], device: torch.device) -> None:
    """Share out the parameters among all processes, in place, by `torch.distributed.fsdp.fully_shard`.

    They all get those of the first process. Scalars, which it does not take, stay in every process; nobody averages
    their gradients.

    Args:
        model: The model.
        blocks: Modules of it whose parameters are gathered at a time.
        device: Where it is.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), 0)
    options: dict[str, Any] = {"mesh": init_device_mesh(device.type, (dist.get_world_size(),))}
    if scalars := {p for p in model.parameters() if p.dim() == 0}:
        options["ignored_params"] = scalars
    for module in (*blocks, model):
        fully_shard(module, **options)


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Shorten the gradient to norm ``largest``, as `torch.nn.utils.clip_grad_norm_` does, and return its old norm.

    Args:
        parameters: Some sharded, and some the same in every process.
        largest: A positive number; may be infinite.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    kinds = [[g for g in grads if is_sharded(g) == sharded] for sharded in (False, True)]
    norm = torch.stack([whole(nn.utils.get_total_norm(kind)) for kind in kinds if kind]).norm()
    torch._foreach_mul_(list(map(own, grads)), (largest / (norm + 1e-6)).clamp(max=1.0))
    return norm


def any_sharded(tensors: Iterable[Tensor]) -> bool:
    """Whether one of the tensors is sharded."""
    return any(map(is_sharded, tensors))


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of ``model``; of a sharded one whole, on the CPU."""
    state: dict[str, Tensor] = model.state_dict()
    return {name: value.cpu() for name, value in _gathered(state)} if any_sharded(state.values()) else state


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `whole_state` gave, of a model that was sharded or not.

    Raises:
        RuntimeError: If names or shapes differ.
    """
    places: dict[str, Tensor] = model.state_dict()
    if not any_sharded(places.values()):
        model.load_state_dict(state)
        return
    for name in places.keys() ^ state.keys():
        raise RuntimeError(f"`state` must have the names of the model, but {name!r} is in one of them alone.")
    for name, place in places.items():
        value = state[name]
        if value.shape != place.shape:
            raise RuntimeError(f"`state` must have the shapes of the model, but {name!r} has {tuple(value.shape)}.")
        put(place, value.to(place.device))


@torch.no_grad()
def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state that a sharded ``model`` would have with plain weights, on the CPU; gathers one weight at a time."""
    state: dict[str, Tensor] = model.state_dict()
    merged: dict[str, Tensor] = {}
    for owner, module in model.named_modules():
        if not parametrize.is_parametrized(module):
            continue
        start = f"{owner}." if owner else ""
        for tensor, chain in module.parametrizations.items():
            prefix = f"{start}parametrizations.{tensor}."
            factors = {name: state.pop(name) for name in list(state) if name.startswith(prefix)}
            values = {name.removeprefix(prefix): value for name, value in _gathered(factors)}
            merged[f"{start}{tensor}"] = torch.func.functional_call(chain, values, ()).cpu()
    return {name: value.cpu().clone() for name, value in _gathered(state)} | merged


def whole_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """State of the optimizer; of sharded parameters whole, on the CPU."""
    return _mapped(optimizer.state_dict(), lambda _, value: whole(value).cpu() if is_sharded(value) else value)


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what `whole_optimizer_state` gave, of parameters that were sharded or not."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def here(number: int, value: Tensor) -> Tensor:
        parameter = parameters[number]
        if value.dim() == 0 or not is_sharded(parameter):  # counts of steps are numbers
            return value
        return sharded_like(own_part(value.to(parameter.device), parameter), parameter)

    optimizer.load_state_dict(_mapped(state, here))


def _gathered(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in state.items():
        yield name, whole(value).as_subclass(Tensor)


def _mapped(state: dict[str, Any], change: Callable[[int, Tensor], Tensor]) -> dict[str, Any]:
    entries = {
        number: {name: change(number, x) if isinstance(x, Tensor) else x for name, x in one.items()}
        for number, one in state["state"].items()
    }
    return {**state, "state": entries}
