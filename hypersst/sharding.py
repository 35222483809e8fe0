"""Tensors of which each process holds some rows, as `torch.distributed.fsdp.fully_shard` leaves parameters.

They are torch's ``DTensor``. What works row by row works on the rows that are here (`own`); what needs all rows gathers
them (`whole`), and each process then keeps its own of the result (`put`). All processes must gather and put alike.
A tensor that is not sharded is its own part and whole, and costs a look at its type.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

__all__ = [
    "can_shard_integers",
    "can_shard_on_cpu",
    "is_sharded",
    "numbered_here",
    "own",
    "own_part",
    "put",
    "sharded_like",
    "whole",
]


def can_shard_on_cpu() -> bool:
    """Whether torch's ``fully_shard`` works without a GPU, as it does from torch 2.7 on."""
    return hasattr(torch.cpu.Stream, "record_event")


def can_shard_integers() -> bool:
    """Whether torch's ``fully_shard`` takes parameters of integers; 2.11 is known to, 2.8 not to."""
    return TorchVersion(torch.__version__) >= "2.11"


def is_sharded(tensor: Tensor) -> bool:
    """Whether other processes hold parts of ``tensor``."""
    # Before this is imported no tensor can be one of its, and importing it takes seconds.
    module: Any = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def own(tensor: Tensor) -> Tensor:
    """The part of ``tensor`` that is in this process; to write into it is to write into ``tensor``."""
    if not is_sharded(tensor):
        return tensor
    with torch.no_grad():
        part: Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return part


def whole(tensor: Tensor) -> Tensor:
    """All of ``tensor``: itself, or a copy gathered from all processes without a gradient."""
    if not is_sharded(tensor):
        return tensor
    gathered: Tensor = tensor.detach().full_tensor()  # type: ignore[attr-defined]
    return gathered


def own_part(rows: Tensor, like: Tensor) -> Tensor:
    """What this process is to hold of ``rows``, which are whole here, where ``like`` is sharded.

    Args:
        rows: Shape ``(k, *)``.
        like: A tensor of ``k`` rows.
    """
    if not is_sharded(like):
        return rows
    from torch.distributed.tensor import DTensor, Replicate

    mesh: Any = like.device_mesh  # type: ignore[attr-defined]
    copies = DTensor.from_local(rows.detach(), mesh, [Replicate()] * mesh.ndim, run_check=False)
    return copies.redistribute(placements=like.placements).to_local()  # type: ignore[attr-defined]


def put(tensor: Tensor, rows: Tensor) -> None:
    """Overwrite ``tensor`` by ``rows`` of its shape, which are whole in every process."""
    own(tensor).copy_(own_part(rows, tensor))


def numbered_here(index: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Which of some numbered rows are in this process.

    Args:
        index: Numbers of rows, shape ``(r,)``.
        like: A sharded tensor.

    Returns:
        Numbers that the rows have within the own part, and their places in ``index``.
    """
    numbers = own_part(torch.arange(like.shape[0], device=index.device), like)
    here, places = (numbers[:, None] == index).nonzero(as_tuple=True)
    return here, places


def sharded_like(part: Tensor, like: Tensor) -> Tensor:
    """A tensor of which ``part`` is in this process, and whose rows are where those of ``like`` are.

    Args:
        part: Shape ``(k', *)``; later writes into it are seen.
        like: A tensor of ``k`` rows, of which ``k'`` are here.
    """
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    shape = torch.Size((like.shape[0], *part.shape[1:]))
    stride = torch.empty(shape, device="meta").stride()
    mesh, placements = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return DTensor.from_local(part.detach(), mesh, placements, run_check=False, shape=shape, stride=stride)
