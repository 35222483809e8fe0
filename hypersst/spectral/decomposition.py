r"""Singular value decomposition of a weight, and when to do it again.

After one round at ordinary learning rates the rows of ``u`` and ``v`` are far from orthonormal (rms defect 0.6), so
refining the old factors diverges and only a real decomposition will do. It happens once per round, so the
slower and safer routine is taken wherever there is a choice; its accuracy is what keeps ``W`` from moving.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = [
    "Decomposition",
    "DecompositionError",
    "EachRound",
    "EveryIterations",
    "Never",
    "OnDefect",
    "decompose",
    "effective_rank",
    "orthogonality_defect",
]

# From this ratio of the sides on, QR of the long side first is 2 to 7 times faster.
_SKINNY = 2.0


class DecompositionError(RuntimeError):
    """No routine could decompose the weight, or the weight is not finite."""


def check_finite(weight: Tensor) -> None:
    """Raise `DecompositionError` unless every entry of ``weight`` is finite."""
    if not _finite(weight):
        raise DecompositionError(f"`weight` of shape {tuple(weight.shape)} must be finite.")


def _finite(x: Tensor) -> bool:
    # Both ends are NaN where one entry is. A tenth of the time of asking every entry.
    return x.numel() == 0 or bool(torch.stack(torch.aminmax(x)).isfinite().all())


def _svd(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m, n = weight.shape
    if max(m, n) >= _SKINNY * min(m, n):
        if m >= n:
            q, r = torch.linalg.qr(weight)
            u, s, vh = torch.linalg.svd(r, full_matrices=False)
            return (q @ u).t(), s, vh
        q, r = torch.linalg.qr(weight.t())
        u, s, vh = torch.linalg.svd(r.t(), full_matrices=False)
        return u.t(), s, vh @ q.t()
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    return u.t(), s, vh


def _settle_null_vectors(u: Tensor, s: Tensor, v: Tensor) -> None:
    """Replace, in place, the vectors of singular values that are zero up to rounding.

    Rounding alone chooses those of the routine, so processes or machines that differ in the last digit would go on with
    others. The new ones are fixed random vectors made orthonormal to the rest, so they move as little as that does.
    """
    limit = max(u.shape[1], v.shape[1]) * torch.finfo(s.dtype).eps * s[0]
    kept = int((s > limit).sum())
    for rows in (u, v) if kept < len(s) else ():
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(rows.shape[1], len(s) - kept, generator=generator, dtype=rows.dtype).to(rows.device)
        for _ in range(2):  # the second time for what rounding left of the first
            x -= rows[:kept].t() @ (rows[:kept] @ x)
        q, r = torch.linalg.qr(x)
        rows[kept:] = (q * r.diagonal().sign()).t()


def decompose(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Decompose :math:`W = u^\top \operatorname{diag}(\Sigma)\, v` with singular vectors as rows.

    Works in float64 whatever the type: in float32 the weight moves by 1.3e-6 of its norm at 256 x 200 and 2.1e-6 at
    1024 x 1024 and the vectors are orthonormal to 2e-6; through float64 by 3 to 4e-7, for 1.4 to 1.9 times the time.
    If the routine fails on a device it is tried on the CPU. Vectors of singular values that are zero, which the weight
    does not determine, depend on the other vectors alone.

    Args:
        weight: Shape ``(m, n)``, any real floating type.

    Returns:
        ``(u, sigma, v)`` of shapes ``(k, m)``, ``(k,)`` descending, ``(k, n)``, with ``k = min(m, n)``, contiguous
        and of the type of ``weight``.

    Raises:
        DecompositionError: If the weight is not finite or every routine failed.
    """
    check_finite(weight)
    work = weight.detach()
    reasons = []
    for device in dict.fromkeys((work.device, torch.device("cpu"))):
        try:
            u, s, v = _svd(work.to(device=device, dtype=torch.float64))
        except (RuntimeError, TypeError) as error:  # LinAlgError included; TypeError: a device without float64
            reasons.append(f"on {device}: {error}")
            continue
        if all(map(_finite, (s, u, v))):
            u, v = u.contiguous(), v.contiguous()
            _settle_null_vectors(u, s, v)
            return u.to(weight).contiguous(), s.to(weight), v.to(weight).contiguous()
        reasons.append(f"on {device}: factors are not finite")
    raise DecompositionError(f"no decomposition of shape {tuple(weight.shape)}: " + "; ".join(reasons))


def orthogonality_defect(rows: Tensor) -> Tensor:
    r"""Root mean square departure of ``rows`` from orthonormality, :math:`\lVert RR^\top - I\rVert_F/\sqrt k`.

    Args:
        rows: Shape ``(k, n)``.

    Returns:
        A non-negative scalar tensor.
    """
    gram = rows @ rows.t()
    identity = torch.eye(rows.shape[0], dtype=rows.dtype, device=rows.device)
    return (gram - identity).norm() / math.sqrt(rows.shape[0])


def effective_rank(sigma: Tensor) -> Tensor:
    r"""Exponential of the entropy of :math:`p_i = \Sigma_i/\sum_j\Sigma_j` (Roy and Vetterli, 2007, eq. 3).

    Args:
        sigma: Non-negative singular values, shape ``(k,)``.

    Returns:
        A scalar between 1 and ``k``; 0 where all singular values are 0.
    """
    total = sigma.sum()
    p = sigma / total.clamp_min(torch.finfo(sigma.dtype).tiny)
    return torch.where(total > 0, torch.special.entr(p).sum().exp(), torch.zeros_like(total))


class Decomposition(Protocol):
    """Decides, when an iteration ends, whether a layer is decomposed before the next draw."""

    def due(self, iteration: int, iterations_per_round: int, defect: Callable[[], float]) -> bool:
        """Answer for the layer that is about to begin ``iteration`` (0 is never asked).

        Args:
            iteration: Number of the iteration that begins.
            iterations_per_round: ⌈k / r⌉ of this layer, or what the sampler was told.
            defect: Measures the larger `orthogonality_defect` of the layer's ``u`` and ``v``; called on demand
                since it costs two products.
        """
        ...


@dataclass(frozen=True)
class EachRound:
    """Once per round, after ``iterations_per_round`` iterations: the paper's rule."""

    def due(self, iteration: int, iterations_per_round: int, defect: Callable[[], float]) -> bool:
        """Answer yes at the first iteration of each round."""
        return iteration % iterations_per_round == 0


@dataclass(frozen=True)
class EveryIterations:
    """After every ``count`` iterations, whatever the rank."""

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"`count` must be at least 1, got {self.count}.")

    def due(self, iteration: int, iterations_per_round: int, defect: Callable[[], float]) -> bool:
        """Answer yes at every ``count``-th iteration."""
        return iteration % self.count == 0


@dataclass(frozen=True)
class OnDefect:
    """When the measured loss of orthogonality passes ``threshold`` (an `orthogonality_defect`)."""

    threshold: float = 0.3

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise ValueError(f"`threshold` must be positive, got {self.threshold}.")

    def due(self, iteration: int, iterations_per_round: int, defect: Callable[[], float]) -> bool:
        """Measure, and answer yes above the threshold."""
        return defect() > self.threshold


@dataclass(frozen=True)
class Never:
    """Keep the first factors (an ablation: the vectors drift away from orthonormality)."""

    def due(self, iteration: int, iterations_per_round: int, defect: Callable[[], float]) -> bool:
        """Answer no."""
        return False
