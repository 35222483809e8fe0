"""Charts of the two models number by number, through the distance from the origin."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypersst.manifolds import Lorentz

__all__ = ["by_row", "chart_lengths", "point_of", "row_in_chart"]


def chart_lengths(rho: float, c: float, lorentz: bool) -> dict[str, float]:
    """Length of the coordinates of a point at geodesic distance ``rho`` from the origin."""
    r = math.sqrt(c) * rho
    return {
        "tangent": rho if lorentz else rho / 2.0,
        "space": math.sinh(r) / math.sqrt(c),
        "ball": math.tanh(r / 2.0) / math.sqrt(c),
    }


def row_in_chart(row: list[float], c: float, lorentz: bool, chart: str) -> list[float]:
    """Coordinates of one point."""
    direction = row[1:] if lorentz else row
    length = math.hypot(*direction)
    if length == 0.0:
        return [0.0] * len(direction)
    rho = (math.acosh(math.sqrt(c) * row[0]) if lorentz else 2.0 * math.atanh(math.sqrt(c) * length)) / math.sqrt(c)
    return [chart_lengths(rho, c, lorentz)[chart] * entry / length for entry in direction]


def point_of(v: list[float], c: float, lorentz: bool, chart: str) -> list[float]:
    """The point with the given coordinates."""
    length, k = math.hypot(*v), math.sqrt(c)
    if length == 0.0:
        return ([1.0 / k] if lorentz else []) + v
    rho = {
        "tangent": lambda: length if lorentz else 2.0 * length,
        "space": lambda: math.asinh(k * length) / k,
        "ball": lambda: 2.0 * math.atanh(k * length) / k,
    }[chart]()
    if lorentz:
        return [math.cosh(k * rho) / k, *(math.sinh(k * rho) / k * entry / length for entry in v)]
    return [math.tanh(k * rho / 2.0) / k * entry / length for entry in v]


def by_row(function, x: Tensor, manifold, chart: str, out_manifold=None) -> Tensor:
    """Apply a function of a list of numbers to the coordinates of each point, one after the other."""
    lorentz = isinstance(manifold, Lorentz)
    c_in, c_out = (m.c.item() for m in (manifold, out_manifold or manifold))
    rows = [function(row_in_chart(row, c_in, lorentz, chart)) for row in x.tolist()]
    return torch.tensor([point_of(v, c_out, lorentz, chart) for v in rows], dtype=torch.float64)
