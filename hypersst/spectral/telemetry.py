"""What is worth watching in a layer that trains spectrally."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["LayerTelemetry"]


@dataclass(frozen=True)
class LayerTelemetry:
    """What a layer looks like at present.

    Args:
        sigma: Singular values in the layer's order, shape ``(k,)``, on the CPU.
        index: Active rows, shape ``(r,)``, on the CPU.
        defect_u: Root mean square departure of ``u`` from orthonormality.
        defect_v: The same of ``v``.
        effective_rank: Exponential of the entropy of the normalised singular values, in [1, k].
        coverage: Share of the vectors that have been active since the last decomposition.
    """

    sigma: Tensor
    index: Tensor
    defect_u: float
    defect_v: float
    effective_rank: float
    coverage: float
