"""Inputs of the layers of the conformance suite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypersst.experiments.conformance.case import IN, ROWS
from hypersst.experiments.conformance.points import points, small_graph
from hypersst.manifolds import PoincareBall, Stereographic

__all__ = ["feature_graph", "feature_pair", "features", "graph_on", "pair_on", "rows_on"]


def rows_on(module: Any, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor]:
    """Points on the layer's manifold, of norm one at most as c → 0, some with zeros among their coordinates."""
    manifold = module.manifold
    if isinstance(manifold, Stereographic):
        x = 0.5 * points(PoincareBall(), ROWS, IN, seed=seed)  # well within the sphere's chart and the ball
    else:
        x = points(manifold, ROWS, IN, radius=min(1.0, float(manifold.c.detach()) ** 0.5), seed=seed)
    # Counted from the end: a Lorentz point has its time in front.
    x[2, -1] = x[3, -2] = x[3, -3] = 0.0
    with torch.no_grad():
        return (manifold.projx(x.to(dtype)),)


def pair_on(module: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two lists of points."""
    return rows_on(module, dtype) + rows_on(module, dtype, seed=1)


def graph_on(module: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Points as nodes of a small graph."""
    return (*rows_on(module, dtype), small_graph()[0])


def features(module: Any, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor]:
    """Euclidean rows of norm about one, a quarter of their entries zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, IN, generator=generator, dtype=torch.float64) / IN**0.5
    return ((x * (torch.rand(ROWS, IN, generator=generator) > 0.25)).to(dtype),)


def feature_pair(module: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two lists of Euclidean rows."""
    return features(module, dtype) + features(module, dtype, seed=1)


def feature_graph(module: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Euclidean rows as nodes of a small graph."""
    return (*features(module, dtype), small_graph()[0])
