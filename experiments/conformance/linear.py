"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import geoopt
from torch import Tensor, nn

from hypersst.experiments.conformance.case import IN, OUT, ROWS, LayerCase
from hypersst.experiments.conformance.inputs import rows_on
from hypersst.manifolds import Lorentz, PoincareBall, Stereographic
from hypersst.nn import LorentzLinear, LorentzOrthogonal, MobiusLinear, PoincareLinear, StereographicLinear

__all__ = ["CASES", "flat_hyperplanes", "flat_linear"]


def linear(
    name: str,
    build: Callable[..., nn.Module],
    manifold: Callable[[float], geoopt.Manifold],
    claims: str = "rows sparse spectral export",
    **fields: Any,
) -> LayerCase:
    """A fully connected layer between manifolds of one kind; ``claims`` are separated by blanks."""
    return LayerCase(
        name,
        lambda c: build(IN, OUT, manifold=manifold(c)),
        rows_on,
        (ROWS, OUT + (manifold is Lorentz)),
        claims=frozenset(claims.split()),
        **fields,
    )


def flat_linear(layer: Any, x: Tensor) -> Tensor:
    """Weight and bias, if there is one, applied to the space part."""
    y = x[..., -IN:] @ layer.weight.t()
    return y if layer.bias is None else y + layer.bias


def flat_hyperplanes(layer: Any, x: Tensor) -> Tensor:
    """Four times the signed distances to the planes of a flat space, times the lengths of their normals."""
    # The conformal factor tends to 2, the hyperbolic functions to their arguments.
    return 4.0 * (x @ layer.weight.t() - layer.bias * layer.weight.norm(dim=-1))


CASES = [
    linear("lorentz-gated", LorentzLinear, Lorentz),
    linear("lorentz-recomputed", partial(LorentzLinear, time="recomputed"), Lorentz),
    linear("lorentz-hyperplane", partial(LorentzLinear, time="hyperplane"), Lorentz),
    # Its outputs are coordinates y of a point near w / 2, w being the distances.
    linear("poincare-linear", PoincareLinear, PoincareBall, flat=lambda m, x: 0.5 * flat_hyperplanes(m, x)),
    linear("mobius-ball", MobiusLinear, PoincareBall, flat=flat_linear),
    linear("mobius-lorentz", MobiusLinear, Lorentz, flat=flat_linear),
    linear("stereographic-ball", StereographicLinear, lambda c: Stereographic(-c), flat=flat_linear),
    linear("stereographic-sphere", StereographicLinear, Stereographic, flat=flat_linear),
    LayerCase(
        "lorentz-orthogonal",
        # Columns can be orthonormal if there are no more of them than rows.
        lambda c: LorentzOrthogonal(IN, IN + 2, manifold=Lorentz(c)),
        rows_on,
        (ROWS, IN + 3),
        claims=frozenset({"rows", "sparse", "export"}),
    ),
]
