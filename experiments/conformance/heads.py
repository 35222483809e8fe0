"""Heads, decoders, and the ways onto the manifold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hypersst.experiments.conformance.case import IN, OUT, ROWS, LayerCase, nowhere
from hypersst.experiments.conformance.inputs import feature_pair, features, pair_on, rows_on
from hypersst.experiments.conformance.linear import flat_hyperplanes
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn import (
    FermiDirac,
    HyperbolicEmbedding,
    InnerProduct,
    LiftFeatures,
    LorentzMLR,
    LorentzScore,
    PoincareMLR,
    PrototypeHead,
    TangentHead,
)

__all__ = ["CASES"]


def head(name: str, kind: type, manifold: type, claims: str, **fields: Any) -> LayerCase:
    """From points to class scores."""
    return LayerCase(
        name,
        lambda c: kind(IN, OUT, manifold=manifold(c)),
        rows_on,
        (ROWS, OUT),
        nowhere,
        frozenset({"rows", "export", *claims.split()}),
        **fields,
    )


def decoder(name: str, build: Callable[[float], nn.Module], claims: str = "isometry", **fields: Any) -> LayerCase:
    """From pairs of points to scores."""
    fields = {"inputs": pair_on, "shape": (ROWS,), "on": nowhere, **fields}
    return LayerCase(name, build, claims=frozenset({"rows", "export", *claims.split()}), **fields)


CASES = [
    head("prototype-head", PrototypeHead, Lorentz, "isometry"),
    head("lorentz-mlr", LorentzMLR, Lorentz, "spectral"),
    head("poincare-mlr", PoincareMLR, PoincareBall, "spectral", flat=flat_hyperplanes),
    head("tangent-ball", TangentHead, PoincareBall, "spectral", flat=lambda m, x: m.linear(x)),
    head("tangent-lorentz", TangentHead, Lorentz, "spectral", flat=lambda m, x: m.linear(x[..., -IN:])),
    decoder(
        "fermi-dirac-ball",
        lambda c: FermiDirac(manifold=PoincareBall(c)),
        # The metric of the ball is 4 dx² at the origin.
        flat=lambda m, x, y: (m.r - 4.0 * (x - y).square().sum(-1)) / m.t,
    ),
    decoder("fermi-dirac-lorentz", lambda c: FermiDirac(manifold=Lorentz(c))),
    decoder("lorentz-score", lambda c: LorentzScore(manifold=Lorentz(c))),
    decoder("inner-product", lambda c: InnerProduct(), "", inputs=feature_pair),
    LayerCase(
        "lift-ball",
        lambda c: LiftFeatures(manifold=PoincareBall(c)),
        features,
        (ROWS, IN),
        claims=frozenset({"rows", "sparse", "export"}),
        flat=lambda m, x: x,
    ),
    LayerCase(
        "lift-lorentz",
        # The curvature is its only parameter, so it is trained here.
        lambda c: LiftFeatures(manifold=Lorentz(c, learnable=True)),
        features,
        (ROWS, IN + 1),
        claims=frozenset({"rows", "sparse", "export"}),
        flat=lambda m, x: x,
    ),
    LayerCase(
        "embedding-ball",
        lambda c: HyperbolicEmbedding(7, OUT, manifold=PoincareBall(c), std=0.5),
        lambda m, d: (torch.tensor([3, 0, 3, 6, 1, 2]),),
        (ROWS, OUT),
        claims=frozenset({"rows", "isometry", "export"}),
        flat=lambda m, index: torch.nn.functional.embedding(index, m.weight),
    ),
    LayerCase(
        "embedding-lorentz",
        lambda c: HyperbolicEmbedding(7, OUT, manifold=Lorentz(c), std=0.5),
        lambda m, d: (torch.tensor([3, 0, 3, 6, 1, 2]),),
        (ROWS, OUT + 1),
        claims=frozenset({"rows", "isometry", "export"}),
    ),
]
