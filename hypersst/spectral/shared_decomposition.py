"""Decompose weights that several processes hold, each in one of them.

Replicas decompose their shares at the same time and then send all tensors of a weight. Of sharded weights as many as
there are processes are gathered at a time, each kept by the process that is to decompose it; it sends the new factors
and every process takes its rows. So beside its shard a process holds one weight at a time, and one more in passing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypersst.sharding import is_sharded
from hypersst.spectral.decomposition import DecompositionError
from hypersst.spectral.parametrization import Spectral
from hypersst.spectral.replicas import Replicas

__all__ = ["check_layout", "decompose_shared"]

_Weights = Mapping[int, tuple[nn.Parameter, Spectral]]


def check_layout(name: str, sigma: Tensor, spectral: Spectral) -> None:
    """Raise `ValueError` unless the factors of weight ``name`` are matrices of whole rows, sharded all or none."""
    named = {"sigma": sigma, **{n: p for n, p in spectral._parameters.items() if p is not None}}
    for place, width in zip(("u_active", "v_active"), spectral.shape, strict=True):
        rows = named[place]
        if rows.shape != (spectral.rank, width):
            raise ValueError(
                f"`model` must keep the shape of its parameters, but {place!r} of {name!r} has shape "
                f"{tuple(rows.shape)} instead of {(spectral.rank, width)}: wrappers that flatten or cut matrices, as "
                f"DeepSpeed's ZeRO and FullyShardedDataParallel do, tear singular vectors apart. Use "
                f"`torch.distributed.fsdp.fully_shard` or DistributedDataParallel."
            )
    sharded = {place: tensor for place, tensor in named.items() if is_sharded(tensor)}
    if sharded and len(sharded) < len(named):
        raise ValueError(
            f"`model` must be sharded in all factors of a weight or in none, but of {name!r} "
            f"{', '.join(sharded)} are and {', '.join(named.keys() - sharded.keys())} are not."
        )
    for place, tensor in sharded.items():
        placements = tensor.placements  # type: ignore[attr-defined]
        if not all(one.is_replicate() or one.is_shard(0) for one in placements):
            raise ValueError(
                f"`model` must be sharded over axis 0, which keeps singular vectors whole, but {place!r} of {name!r} "
                f"has placements {tuple(placements)}: leave out `shard_placement_fn` for it."
            )


def decompose_shared(
    weights: _Weights,
    replicas: Replicas,
    generator: Callable[[int], torch.Generator],
    failed: Callable[[int, DecompositionError], None],
) -> list[int]:
    """Decompose weights again, each in its process.

    Args:
        weights: Singular values and factors by position, the same positions in every process.
        replicas: The processes.
        generator: Source of random factors of a position.
        failed: Told of a weight that could not be decomposed, in the process that tried.

    Returns:
        Positions that have new factors, in every process the same.
    """
    work, positions = _Work(weights, replicas, generator, failed), list(weights)
    if not any(is_sharded(sigma) for sigma, _ in weights.values()):
        return _replicated(positions, work)
    done: list[int] = []
    for start in range(0, len(positions), replicas.world):
        done += _sharded(positions[start : start + replicas.world], work)
    return done


@dataclass(frozen=True)
class _Work:
    """The arguments of `decompose_shared`."""

    weights: _Weights
    replicas: Replicas
    generator: Callable[[int], torch.Generator]
    failed: Callable[[int, DecompositionError], None]

    def each(self, positions: list[int], decompose: Callable[[int], None]) -> list[int]:
        """Let the owner of each position decompose it; returns, in every process, where that went well."""

        def done(position: int) -> bool:
            try:
                decompose(position)
            except DecompositionError as error:
                self.failed(position, error)
                return False
            return True

        if not positions:
            return []
        flags = self.replicas.each(positions, done, self.weights[positions[0]][0].device)
        return [position for position, flag in zip(positions, flags, strict=True) if flag]


def _replicated(positions: list[int], work: _Work) -> list[int]:
    def decompose(position: int) -> None:
        sigma, spectral = work.weights[position]
        spectral.redecompose(sigma, work.generator(position))

    kept = work.each(positions, decompose)
    for position in kept:
        sigma, spectral = work.weights[position]
        work.replicas.send(position, (sigma, *spectral.parameters()))
    return kept


def _sharded(positions: list[int], work: _Work) -> list[int]:
    mine: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for position in positions:
        sigma, spectral = work.weights[position]
        rows = spectral.gathered(sigma)  # by all processes
        if work.replicas.owns(position):
            mine[position] = rows
        del rows

    def decompose(position: int) -> None:
        mine[position] = work.weights[position][1].refactored(*mine[position], work.generator(position))

    kept = work.each(positions, decompose)
    for position in kept:
        sigma, spectral = work.weights[position]
        new = mine.pop(position) if work.replicas.owns(position) else _room(sigma, spectral)
        work.replicas.send(position, [x.contiguous() for x in new])
        spectral.take_over(sigma, *new)
    return kept


def _room(sigma: Tensor, spectral: Spectral) -> tuple[Tensor, Tensor, Tensor]:
    """Memory for what `Spectral.refactored` returns."""
    shapes = [(spectral.k, spectral.shape[0]), (spectral.k,), (spectral.k, spectral.shape[1])]
    u, s, v = (torch.empty(shape, dtype=torch.float64, device=sigma.device) for shape in shapes)
    return u, s, v
