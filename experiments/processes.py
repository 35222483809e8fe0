"""The processes that train one model together, as ``torchrun`` starts them."""

from __future__ import annotations

import contextlib
import inspect
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from hypersst.errors import DeviceError

__all__ = ["ALONE", "Processes", "joined_processes", "launched_processes"]

_KEY = "error of process 0"
_PATIENCE, _COURTESY = timedelta(seconds=10), timedelta(seconds=2)


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is; a single one asks nothing of `torch.distributed`.

    Args:
        rank: Number of this process, from 0.
        world: Number of processes.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def replicate(self, model: nn.Module) -> nn.Module:
        """A module whose backward pass leaves the mean of all processes' gradients; a single process's is ``model``."""
        if self.world == 1:
            return model
        # Buffers are constant, or the sampler's, which draws alike everywhere. torch 2.13 renames the option.
        known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
        option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {option: False}
        return nn.parallel.DistributedDataParallel(model, **options)

    def sum(self, x: Tensor) -> Tensor:
        """Sum of all processes' tensors."""
        if self.world == 1:
            return x
        x = x.clone()
        dist.all_reduce(x)
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Mean of all processes' tensors."""
        return x if self.world == 1 else self.sum(x) / self.world

    def any(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """Whether each of the flags is set in any process."""
        if self.world == 1:
            return list(flags)
        return [bool(number) for number in self.sum(torch.tensor(flags, dtype=torch.int32, device=device)).tolist()]

    def gather(self, value: Any) -> list[Any]:
        """All processes' values, in their order."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.world > 1:
            dist.barrier()


ALONE = Processes()
"""A single process."""


def launched_processes() -> int:
    """Number of processes that a launcher such as ``torchrun`` has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined_processes(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the processes that ``torchrun`` has started, by gloo on the CPU and nccl on GPUs.

    An error that stops all of them is raised in the first alone; the others leave with status 1 and without a word. One
    that stops another process is raised there.

    Args:
        device: Where to train. With several processes, ``cuda`` is the GPU of the process's number on its machine.

    Yields:
        The processes, and the name of this one's device.

    Raises:
        ValueError: If several processes are to share a numbered GPU.
        DeviceError: If the device is not there.
    """
    if launched_processes() == 1:
        yield ALONE, device
        return
    store, rank, world = next(rendezvous("env://"))
    told = PrefixStore("hypersst", store)
    try:
        own = _own_device(device)
        kind = "gloo" if own == device else "nccl"
        dist.init_process_group(kind, store=PrefixStore("group", store), rank=rank, world_size=world)
        yield Processes(rank, world), own
    except Exception as error:
        if rank == 0:
            told.set(_KEY, str(error))
            # The store goes with this process, and the others may be slower. If the error is this one's alone they are
            # stuck elsewhere and will not answer.
            _has_all(told, [_heard(other) for other in range(1, world)], _COURTESY)
        elif _has_all(told, [_KEY], _PATIENCE):
            told.set(_heard(rank), "")
            # The launcher ends all processes when one has left, and the first is still to print.
            time.sleep(1.0)
            raise SystemExit(1) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _own_device(name: str) -> str:
    if not name.startswith("cuda"):
        return name
    if name != "cuda":
        raise ValueError(f"`device` must be cuda without a number where several processes train, got {name!r}.")
    own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if own >= there:
        raise DeviceError(f"`device` cuda must have a GPU for each process of a machine, got {there} for number {own}.")
    torch.cuda.set_device(own)
    return f"cuda:{own}"


def _heard(rank: int) -> str:
    return f"heard by process {rank}"


def _has_all(told: Store, keys: list[str], patience: timedelta) -> bool:
    try:
        told.wait(keys, patience)
    except RuntimeError:  # in time it has not, or it is gone with the store
        return False
    return True
