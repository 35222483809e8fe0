"""What every layer keeps of its digits in float32, against itself in float64, far from the origin."""

from __future__ import annotations

import copy
import math
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.experiments.conformance.case import LayerCase, dense
from hypersst.manifolds import Lorentz, PoincareBall, Stereographic, stereographic
from hypersst.manifolds.curvature import Curvature
from hypersst.nn import LiftFeatures

__all__ = ["RADII", "layer_error", "placed_at"]

RADII = (1.0, 3.0, 5.0, 7.0)


def layer_error(case: LayerCase, radius: float, *, together: bool = False, seed: int = 0) -> float:
    r"""Largest relative error of a row of a layer's output in float32.

    Points among the inputs, and parameters on a manifold, lie at the given radius, in directions of their own or at
    distances of about one over the root of c. Both precisions start from the same float32 numbers and have the same
    ``max_radius``, 7 over the root of c, which is the default of float32 only. A list of scores counts as one row.

    Args:
        case: The layer.
        radius: Geodesic distance from the origin times the root of c; norm of Euclidean features.
        together: Place the points near each other.
        seed: Seed of the layer's parameters.

    Returns:
        :math:`\max_i \lVert y_i - \hat y_i\rVert / \lVert \hat y_i\rVert` over the rows of the output.
    """
    single = case.make(seed=seed)
    for module in single.modules():
        if isinstance(module, Curvature):
            module.max_radius = 7.0 / float(module.c.detach()) ** 0.5
    with torch.no_grad():
        for parameter in single.parameters():
            manifold = getattr(parameter, "manifold", None)
            if isinstance(manifold, Lorentz | PoincareBall):
                parameter.copy_(placed_at(radius, parameter.detach().as_subclass(Tensor), manifold, together))
        given = case.inputs(single, torch.float32)
        inputs = tuple(_far(x, given[0], single, radius, together) for x in given)
        double = copy.deepcopy(single).double()
        exact = tuple(_exact(x, inputs[0], double) for x in inputs)
        for parameter in double.parameters():
            if isinstance(getattr(parameter, "manifold", None), Lorentz):
                lorentz: Any = parameter
                parameter.copy_(lorentz.manifold.from_space(parameter.detach()[..., 1:]))
        # κ-stereographic spaces have no ``max_radius`` to set.
        with patch.dict(stereographic._CAP, {torch.float64: 7.0}):
            y, truth = dense(single(*inputs)).double(), dense(double(*exact))
    return float(((y - truth).norm(dim=-1) / truth.norm(dim=-1).clamp_min(1e-30)).max())


def placed_at(radius: float, x: Tensor, manifold: Lorentz | PoincareBall, together: bool = False) -> Tensor:
    """Points at a geodesic distance of ``radius`` over the root of c from the origin, in the directions of ``x``.

    ``together`` bends these towards one, so that points are about one over the root of c from one of them.
    """
    wide = copy.deepcopy(manifold).double()
    v = wide.logmap0(x.double())
    direction = v / v.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    if together:
        space = direction[..., 1:] if isinstance(manifold, Lorentz) else direction
        direction = space / math.sinh(radius) + space.shape[-1] ** -0.5
        direction = direction / direction.norm(dim=-1, keepdim=True)
        direction = F.pad(direction, (1, 0)) if isinstance(manifold, Lorentz) else direction
    return wide.expmap0(_tangent_length(radius, wide) * direction).to(x.dtype)


def _tangent_length(radius: float, manifold: Lorentz | PoincareBall) -> float:
    """Length of a tangent vector at the origin whose exponential lies at the radius: the ball's map doubles lengths."""
    return radius * (1.0 if isinstance(manifold, Lorentz) else 0.5) / float(manifold.c.detach()) ** 0.5


def _far(x: Tensor, first: Tensor, module: nn.Module, radius: float, together: bool) -> Tensor:
    """One input at the radius: points, and features on the way to become points; weights and indices stay."""
    manifold: Any = getattr(module, "manifold", None)
    if not x.is_floating_point() or x.dim() < first.dim():
        return x
    if isinstance(manifold, Stereographic):
        # The sphere ends at a radius of π, and its points stay where they are.
        return placed_at(radius, x, PoincareBall(-manifold.kappa), together) if manifold.kappa < 0 else x
    if manifold is not None and not isinstance(module, LiftFeatures):
        return placed_at(radius, x, manifold, together)
    length = 1.0 if manifold is None else _tangent_length(1.0, manifold)
    return radius * length * x / x.norm(dim=-1, keepdim=True).clamp_min(1e-30)


def _exact(x: Tensor, first: Tensor, module: nn.Module) -> Tensor:
    """The same numbers in float64; the time of a Lorentz point follows from its space part."""
    manifold: Any = getattr(module, "manifold", None)
    if not x.is_floating_point():
        return x
    if isinstance(manifold, Lorentz) and not isinstance(module, LiftFeatures) and x.dim() == first.dim():
        return manifold.from_space(x.double()[..., 1:])
    return x.double()
