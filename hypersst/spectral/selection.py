r"""Which singular vectors are trained in an iteration.

A rule sees the singular values of one layer and names ``r`` distinct rows, the same for ``u`` and ``v``. It draws
from the generator it is given and keeps no state, so a draw is a function of (seed, layer, iteration): replicas
agree without talking, and a resumed run draws what the unbroken one would have drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Multinomial", "Selection", "Sequential", "TopR", "Uniform"]


class Selection(Protocol):
    """A rule that chooses the active rows of a layer."""

    def __call__(self, sigma: Tensor, rank: int, iteration: int, generator: torch.Generator) -> Tensor:
        """Choose rows.

        Args:
            sigma: Singular values on the CPU, shape ``(k,)``, in the layer's present order.
            rank: How many rows to name, between 1 and ``k``.
            iteration: Number of the iteration that begins, from 0.
            generator: Source of all randomness, on the CPU.

        Returns:
            Distinct row numbers, int64 of shape ``(rank,)``.
        """
        ...


@dataclass(frozen=True)
class Multinomial:
    r"""Without replacement from :math:`p_i = (1-a)/k + a\,\Sigma_i/\sum_j\Sigma_j`, in the paper with a = 1/2.

    Source: Zhao et al., 2025, Sparse Spectral Training, appendix F.1.

    Args:
        sigma_share: The share ``a`` in [0, 1] of the weight that follows the singular values.
    """

    sigma_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.sigma_share <= 1.0:
            raise ValueError(f"`sigma_share` must be between 0 and 1, got {self.sigma_share}.")

    def probabilities(self, sigma: Tensor) -> Tensor:
        """Probability of each row in a single draw, float64 of shape ``(k,)``; sums to 1."""
        s = sigma.double().clamp_min(0.0)
        uniform = torch.full_like(s, 1.0 / s.numel())
        total = s.sum()
        share = torch.where(total > 0, s / total.clamp_min(torch.finfo(s.dtype).tiny), uniform)
        return (1.0 - self.sigma_share) * uniform + self.sigma_share * share

    def __call__(self, sigma: Tensor, rank: int, iteration: int, generator: torch.Generator) -> Tensor:
        """Draw ``rank`` rows one after the other, each without those already drawn."""
        p = self.probabilities(sigma)
        if int((p > 0).sum()) < rank:
            # Only with sigma_share = 1 and too few non-zero singular values: zeros come last, in equal shares.
            p = p + torch.finfo(p.dtype).eps / p.numel()
        return torch.multinomial(p, rank, replacement=False, generator=generator)


@dataclass(frozen=True)
class Uniform:
    """Without replacement, each row with the same probability."""

    def __call__(self, sigma: Tensor, rank: int, iteration: int, generator: torch.Generator) -> Tensor:
        """Take the head of a random permutation."""
        return torch.randperm(sigma.numel(), generator=generator)[:rank]


@dataclass(frozen=True)
class Sequential:
    """In turn: rows 0…r−1, then r…2r−1, and round again."""

    def __call__(self, sigma: Tensor, rank: int, iteration: int, generator: torch.Generator) -> Tensor:
        """Continue where the iteration before this one ended."""
        return (iteration * rank + torch.arange(rank)) % sigma.numel()


@dataclass(frozen=True)
class TopR:
    """The ``r`` largest singular values (an ablation: the paper finds it clearly worst)."""

    def __call__(self, sigma: Tensor, rank: int, iteration: int, generator: torch.Generator) -> Tensor:
        """Sort the singular values as they are now."""
        return sigma.argsort(descending=True, stable=True)[:rank]
