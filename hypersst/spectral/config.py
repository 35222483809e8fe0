"""Settings of a spectral model in one object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from hypersst.spectral.targets import ALL_LINEAR, Patterns, Target, matches

__all__ = ["Rank", "SSTConfig", "resolve_rank"]

#: A number of pairs, or (as a float in (0, 1]) a share of the ``min(m, n)`` pairs that a weight has.
Rank = int | float


def check_rank(rank: Rank, name: str = "rank") -> None:
    """Raise `ValueError` unless ``rank`` is an integer of at least 1 or a float in (0, 1]."""
    if isinstance(rank, bool) or not isinstance(rank, int | float):
        raise ValueError(f"`{name}` must be an integer or a fraction, got {rank!r}.")
    if isinstance(rank, int) and rank < 1:
        raise ValueError(f"`{name}` must be at least 1, got {rank}.")
    if isinstance(rank, float) and not 0.0 < rank <= 1.0:
        raise ValueError(f"`{name}` as a fraction must lie in (0, 1], got {rank}.")


def resolve_rank(rank: Rank, limit: int) -> int:
    """Number of pairs for a weight with ``limit`` singular values: fractions rounded up, integers capped."""
    check_rank(rank)
    return min(limit, rank if isinstance(rank, int) else math.ceil(rank * limit))


@dataclass(frozen=True)
class SSTConfig:
    """What `hypersst.spectralize` does to a model.

    Args:
        rank: Pairs of singular vectors that train at a time: an integer, or a share of ``min(m, n)`` in (0, 1].
        include: Which weights, see `hypersst.spectral.find_targets`.
        exclude: Which of them not.
        rank_pattern: Other ranks for some weights: regular expressions over the whole name of module or parameter; the
            first that matches counts.
        execution: ``"auto"``, ``"composed"`` or ``"factored"``, see `hypersst.Spectral`. ``"factored"`` applies to
            plain linear maps; other layers read a composed weight.
        gradient: ``"enhanced"`` or ``"plain"``.
        vectors: ``"sphere"``, ``"ambient"``, ``"stiefel"`` or ``"polar"``.
        factors: ``"svd"`` or ``"random"``.
        recompute: Keep no composed weight between forward and backward pass; every selected layer must be a plain
            linear map then.
        storage: Of frozen vectors: ``"float32"`` (the type of the weight), ``"bfloat16"`` or ``"int8"``.
        balanced: Factor W·diag(s) instead of the weight where its module has ``column_sizes`` s, as
            `hypersst.nn.LorentzLinear` has: the numbers that the columns are multiplied by are of equal size then.

    Raises:
        ValueError: If a rank is out of range.
    """

    rank: Rank
    include: Patterns = ALL_LINEAR
    exclude: Patterns | None = None
    rank_pattern: Mapping[str, Rank] = field(default_factory=dict)
    execution: str = "auto"
    gradient: str = "enhanced"
    vectors: str = "sphere"
    factors: str = "svd"
    recompute: bool = False
    storage: str = "float32"
    balanced: bool = False

    def __post_init__(self) -> None:
        check_rank(self.rank)
        for pattern, rank in self.rank_pattern.items():
            check_rank(rank, f"rank_pattern[{pattern!r}]")

    def rank_for(self, target: Target) -> Rank:
        """The rank asked for ``target``."""
        return next((rank for pattern, rank in self.rank_pattern.items() if matches(pattern, target)), self.rank)
