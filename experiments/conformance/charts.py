"""Activation, dropout, normalisation, residual connections, and joining and splitting of points."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.experiments.conformance.case import IN, ROWS, LayerCase, Reading
from hypersst.experiments.conformance.inputs import pair_on, rows_on
from hypersst.experiments.conformance.points import points
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn import (
    HyperbolicActivation,
    HyperbolicBatchNorm,
    HyperbolicConcat,
    HyperbolicDropout,
    HyperbolicLayerNorm,
    HyperbolicResidual,
    HyperbolicRMSNorm,
    HyperbolicSplit,
)

__all__ = ["CASES"]

SIZES = (2, 3)  # of the parts of points of IN dimensions
BETA = {2: 2.0, 3: math.pi / 2.0, 5: 3.0 * math.pi / 8.0}  # B(n/2, 1/2)


def case(
    name: str,
    build: Callable[..., nn.Module],
    manifold: type,
    claims: str = "rows export",
    *,
    dim: int = IN,
    **fields: Any,
) -> LayerCase:
    """A layer whose outputs have ``dim`` dimensions; ``claims`` are separated by blanks."""
    fields = {"inputs": rows_on, **fields}
    return LayerCase(
        name,
        lambda c: build(manifold=manifold(c)),
        shape=(ROWS, dim + (manifold is Lorentz)),
        claims=frozenset(claims.split()),
        **fields,
    )


def activation(name: str, manifold: type, chart: str, scale: float) -> LayerCase:
    """From one curvature to another; ``scale`` is what a unit of the flat space counts in the chart."""
    return LayerCase(
        name,
        lambda c: HyperbolicActivation("tanh", manifold=manifold(c), out_manifold=manifold(2.0 * c), chart=chart),
        rows_on,
        (ROWS, IN + (manifold is Lorentz)),
        lambda m: m.out_manifold,
        frozenset({"rows", "export"}),
        flat=lambda m, x: (scale * x[..., -IN:]).tanh() / scale,
    )


def _evaluated(**options: Any) -> nn.Module:
    return HyperbolicDropout(**options).eval()


def _batch_norm(**options: Any) -> nn.Module:
    layer: Any = HyperbolicBatchNorm(IN, **options)
    if not layer.bias.is_meta:
        with torch.no_grad():
            # Anywhere but the origin.
            layer.bias.copy_(rows_on(layer, torch.float32, seed=2)[0][0])
    return layer


def _trained_batch_norm(**options: Any) -> nn.Module:
    layer: Any = _batch_norm(**options)
    if not layer.bias.is_meta:
        with torch.no_grad():
            layer(*rows_on(layer, torch.float32, seed=3))
    return layer.eval()


def _flat_norm(layer: Any, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return layer.bias[-IN:] + layer.weight * (x[..., -IN:] - mean[..., -IN:]) / (var + layer.eps).sqrt()


def _flat_batch_norm(layer: Any, x: Tensor) -> Tensor:
    # The metric of the ball is 4 dx² at the origin.
    metric = 1.0 if isinstance(layer.manifold, Lorentz) else 4.0
    centred = x[..., -IN:] - x[..., -IN:].mean(0)
    return _flat_norm(layer, x, x.mean(0), metric * centred.square().sum(-1).mean())


def _flat_trained(layer: Any, x: Tensor) -> Tensor:
    return _flat_norm(layer, x, layer.running_mean, layer.running_var)


def _flat_layer_norm(scale: float, layer: Any, x: Tensor) -> Tensor:
    # `scale` is what a unit of the flat space counts in the chart.
    return F.layer_norm(scale * x[..., -IN:], (IN,), layer.weight, layer.bias, layer.eps) / scale


def _flat_rms_norm(scale: float, layer: Any, x: Tensor) -> Tensor:
    return F.rms_norm(scale * x[..., -IN:], (IN,), layer.weight, layer.eps) / scale


def _flat_centroid(layer: Any, x: Tensor, y: Tensor) -> Tensor:
    return ((x + layer.weight * y) / (1.0 + layer.weight))[..., -IN:]


def _flat_translation(layer: Any, x: Tensor, y: Tensor) -> Tensor:
    return (x + layer.weight * y)[..., -IN:]


def _parts_on(module: Any, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Points of different dimensions."""
    radius = min(1.0, float(module.manifold.c.detach()) ** 0.5)
    found = (points(module.manifold, ROWS, d, radius=radius, seed=i) for i, d in enumerate(SIZES))
    with torch.no_grad():
        return tuple(module.manifold.projx(x.to(dtype)) for x in found)


def _second(parts: tuple[Tensor, ...]) -> Tensor:
    return parts[1]


def _split(**options: Any) -> nn.Module:
    return Reading(HyperbolicSplit(SIZES, **options), _second)


def _flat_beta(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([BETA[IN] / BETA[d] * v for d, v in zip(SIZES, (x, y), strict=True)], dim=-1)


def _flat_split(layer: Any, x: Tensor) -> Tensor:
    return BETA[SIZES[1]] / BETA[IN] * x[..., -SIZES[1] :]


CASES = [
    case("activation-ball", partial(HyperbolicActivation, "silu"), PoincareBall, flat=lambda m, x: F.silu(x)),
    case(
        "activation-lorentz",
        partial(HyperbolicActivation, "silu", chart="space"),
        Lorentz,
        flat=lambda m, x: F.silu(x[..., 1:]),
    ),
    activation("activation-tangent-lorentz", Lorentz, "tangent", 1.0),
    activation("activation-space-ball", PoincareBall, "space", 2.0),
    activation("activation-in-ball-lorentz", Lorentz, "ball", 0.5),
    case("dropout-ball", _evaluated, PoincareBall, "rows export isometry", flat=lambda m, x: x),
    case("dropout-lorentz", _evaluated, Lorentz, "rows export isometry", flat=lambda m, x: x[..., 1:]),
    case("layer-norm-ball", partial(HyperbolicLayerNorm, IN), PoincareBall, flat=partial(_flat_layer_norm, 2.0)),
    case("layer-norm-lorentz", partial(HyperbolicLayerNorm, IN), Lorentz, flat=partial(_flat_layer_norm, 1.0)),
    case(
        "layer-norm-tangent",
        partial(HyperbolicLayerNorm, IN, chart="tangent"),
        PoincareBall,
        flat=partial(_flat_layer_norm, 1.0),
    ),
    case("rms-norm-ball", partial(HyperbolicRMSNorm, IN), PoincareBall, flat=partial(_flat_rms_norm, 2.0)),
    case("rms-norm-lorentz", partial(HyperbolicRMSNorm, IN), Lorentz, flat=partial(_flat_rms_norm, 1.0)),
    case("batch-norm-ball", _batch_norm, PoincareBall, "export", flat=_flat_batch_norm),
    case("batch-norm-lorentz", _batch_norm, Lorentz, "export", flat=_flat_batch_norm),
    case("batch-norm-trained-ball", _trained_batch_norm, PoincareBall, flat=_flat_trained),
    case("batch-norm-trained-lorentz", _trained_batch_norm, Lorentz, flat=_flat_trained),
    *(
        case(
            f"residual-{form}-{kind.__name__.removeprefix('Poincare').lower()}{'-learned' if learnable else ''}",
            partial(HyperbolicResidual, form=form, weight=0.6, learnable=learnable),
            kind,
            "rows export isometry" if form == "centroid" else "rows export",
            inputs=pair_on,
            flat=_flat_centroid if form == "centroid" else _flat_translation,
        )
        for learnable in (False, True)
        for form in ("centroid", "translation")
        for kind in (PoincareBall, Lorentz)
    ),
    case("concat-ball", HyperbolicConcat, PoincareBall, inputs=_parts_on, flat=lambda m, x, y: torch.cat((x, y), -1)),
    case(
        "concat-lorentz",
        HyperbolicConcat,
        Lorentz,
        inputs=_parts_on,
        flat=lambda m, x, y: torch.cat((x[..., 1:], y[..., 1:]), -1),
    ),
    case(
        "concat-beta-ball",
        partial(HyperbolicConcat, form="beta"),
        PoincareBall,
        inputs=_parts_on,
        flat=lambda m, x, y: _flat_beta(x, y),
    ),
    case(
        "concat-beta-lorentz",
        partial(HyperbolicConcat, form="beta"),
        Lorentz,
        inputs=_parts_on,
        flat=lambda m, x, y: _flat_beta(x[..., 1:], y[..., 1:]),
    ),
    case("split-ball", _split, PoincareBall, dim=SIZES[1], flat=lambda m, x: x[..., SIZES[0] :]),
    case("split-lorentz", _split, Lorentz, dim=SIZES[1], flat=lambda m, x: x[..., 1 + SIZES[0] :]),
    case("split-beta-ball", partial(_split, form="beta"), PoincareBall, dim=SIZES[1], flat=_flat_split),
    case("split-beta-lorentz", partial(_split, form="beta"), Lorentz, dim=SIZES[1], flat=_flat_split),
]
