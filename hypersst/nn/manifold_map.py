"""From one model or curvature to another."""

from __future__ import annotations

import geoopt
from torch import Tensor, nn

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.origin import exp0, log0

__all__ = ["ManifoldMap", "change_manifold"]


class ManifoldMap(nn.Module):
    r"""Carry points to another model or another curvature, keeping direction and distance from the origin.

    .. math:: y = \exp_0^{\text{target}}\bigl(\log_0^{\text{source}} x\bigr)

    Lengths of tangent vectors are geodesic lengths on both sides: the ball's own exponential map, which doubles them,
    is given half. Between the models with equal curvature the map is the isometry (`lorentz_to_poincare` and its
    inverse). With unequal curvatures it keeps nothing but distances from the origin and angles there: other distances
    shrink when the curvature weakens. A point farther out than the target's ``max_radius`` stops there.

    Source: Chami et al. (2019), *Hyperbolic Graph Convolutional Neural Networks*, who change the curvature so from
    layer to layer, around an activation and in the ball's own units on both sides.

    Use: between layers of different models or curvatures, learnable ones included.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes.

    Args:
        source: Where the points lie, a ball or a Lorentz manifold.
        target: Where they shall lie.

    Shapes:
        - input: ``(*, d + 1)`` if the source is a Lorentz manifold, ``(*, d)`` if it is a ball;
        - output: likewise for the target.

    Example:
        >>> import torch
        >>> carry = ManifoldMap(Lorentz(1.0), PoincareBall(1.0))
        >>> carry(torch.tensor([1.25, 0.75]))
        tensor([0.3333])
    """

    def __init__(
        self, source: geoopt.Lorentz | geoopt.PoincareBall, target: geoopt.Lorentz | geoopt.PoincareBall
    ) -> None:
        super().__init__()
        self.source = as_hyperbolic(source)
        self.target = as_hyperbolic(target)

    def forward(self, x: Tensor) -> Tensor:
        """Carry points ``x``, shape ``(*, ambient of the source)``, to ``(*, ambient of the target)``."""
        return change_manifold(x, self.source, self.target)


def change_manifold(x: Tensor, source: Lorentz | PoincareBall, target: Lorentz | PoincareBall) -> Tensor:
    """What `ManifoldMap` does, as a function."""
    return exp0(_length(source) / _length(target) * log0(x, source), target)


def _length(manifold: Lorentz | PoincareBall) -> float:
    """Geodesic length of a tangent vector at the origin with coordinates of norm one."""
    return 1.0 if isinstance(manifold, Lorentz) else 2.0
