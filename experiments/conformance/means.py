"""Means, positional encodings, maps between manifolds, and entailment cones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from hypersst.experiments.conformance.case import IN, ROWS, LayerCase, Reading, nowhere
from hypersst.experiments.conformance.inputs import pair_on, rows_on
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn import (
    EntailmentCone,
    FrechetMean,
    HyperbolicCentroid,
    HyperbolicPositionalEncoding,
    ManifoldMap,
    TangentFeatures,
)

__all__ = ["CASES"]

POINTS = 3  # in each group


class Segments(Reading):
    """A mean over segments of rows, as pooling in a graph network; there is no point in segment 1."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer, lambda y: y)

    def forward(self, *inputs: Tensor) -> Tensor:
        """One mean for each of four segments of points, given weights and index."""
        return self.layer(*inputs, 4)


def groups_on(module: Any, dtype: torch.dtype) -> tuple[Tensor]:
    """Groups of points."""
    return (torch.stack([rows_on(module, dtype, seed)[0] for seed in range(POINTS)], dim=1),)


def weighted_on(module: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Groups of points and their weights, some of them zero."""
    weight = torch.rand(ROWS, POINTS, dtype=dtype, generator=torch.Generator().manual_seed(0)) + 0.1
    weight[2, 1] = weight[3, 0] = 0.0
    return (*groups_on(module, dtype), weight)


def segments_on(module: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, their weights and their segments."""
    x, weight = (t.flatten(0, 1) for t in weighted_on(module, dtype))
    return x, weight, torch.tensor([0, 2, 3, 0, 2, 2, 2, 3, 3, 3, 3, 2, 0, 0, 3, 3, 2, 0])


def flat_mean(module: Any, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """The weighted average of vectors."""
    weight = torch.ones_like(x[..., 0]) if weight is None else weight
    return (weight.unsqueeze(-1) * x[..., -IN:]).sum(-2) / weight.sum(-1, keepdim=True)


def means(name: str, kind: Callable[..., nn.Module]) -> list[LayerCase]:
    """The cases of one mean: plain, weighted and over segments."""
    lorentz, ball = (ROWS, IN + 1), (ROWS, IN)
    plain, weighted = frozenset({"rows", "isometry", "export"}), frozenset({"rows", "export"})
    return [
        LayerCase(
            f"{name}-ball", lambda c: kind(manifold=PoincareBall(c)), groups_on, ball, claims=plain, flat=flat_mean
        ),
        LayerCase(
            f"{name}-lorentz", lambda c: kind(manifold=Lorentz(c)), groups_on, lorentz, claims=plain, flat=flat_mean
        ),
        # The curvature is the only parameter, so it is trained in the others.
        LayerCase(
            f"{name}-weighted-ball",
            lambda c: kind(manifold=PoincareBall(c, learnable=True)),
            weighted_on,
            ball,
            claims=weighted,
            flat=flat_mean,
        ),
        LayerCase(
            f"{name}-weighted-lorentz",
            lambda c: kind(manifold=Lorentz(c, learnable=True)),
            weighted_on,
            lorentz,
            claims=weighted,
            flat=flat_mean,
        ),
        LayerCase(
            f"{name}-segments",
            lambda c: Segments(kind(manifold=Lorentz(c))),
            segments_on,
            (4, IN + 1),
            claims=frozenset({"export"}),
        ),
    ]


def encoding(name: str, form: str, manifold: type, flat: Callable[..., Tensor]) -> LayerCase:
    """A positional encoding of one sequence."""
    return LayerCase(
        name,
        lambda c: HyperbolicPositionalEncoding(IN, 8, manifold=manifold(c), form=form),
        rows_on,
        (ROWS, IN + (manifold is Lorentz)),
        claims=frozenset({"export"}),
        flat=flat,
    )


def flat_offset(module: Any, x: Tensor) -> Tensor:
    """A convex combination of vectors with the waves of their positions, or with the learned offsets."""
    offsets = module.offsets
    if offsets is None:
        table = [[i / 10000 ** (k // 2 * 2 / IN) for k in range(IN)] for i in range(len(x))]
        angles = torch.tensor(table, dtype=x.dtype)
        offsets = torch.where(torch.arange(IN) % 2 == 0, angles.sin(), angles.cos()) * (2 / IN) ** 0.5
    # The metric of the ball is four times the Euclidean one, so its coordinates are half as long.
    offsets = offsets[: len(x)] * (1.0 if isinstance(module.manifold, Lorentz) else 0.5)
    w = module.residual.weight
    return (x[..., -IN:] + w * offsets) / (1.0 + w)


def flat_rotation(module: Any, x: Tensor) -> Tensor:
    """Pairs of coordinates as complex numbers, times those of norm one; the last of five stays."""
    x = x[..., -IN:]
    position = torch.arange(len(x), dtype=x.dtype).unsqueeze(-1)
    angles = position / 10000 ** (2 * torch.arange(IN // 2, dtype=x.dtype) / IN)
    pairs = torch.view_as_complex(x[..., : IN // 2 * 2].unflatten(-1, (-1, 2)).contiguous())
    turned = torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles))
    return torch.cat((turned.flatten(-2), x[..., IN // 2 * 2 :]), dim=-1)


def carried(name: str, source: type, target: type, scale: float) -> LayerCase:
    """A map between manifolds, to a learnable curvature half as strong."""
    return LayerCase(
        name,
        lambda c: ManifoldMap(source(c), target(0.5 * c, learnable=True)),
        lambda m, dtype: rows_on(SimpleNamespace(manifold=m.source), dtype),
        (ROWS, IN + (target is Lorentz)),
        lambda m: m.target,
        frozenset({"rows", "export"}),
        flat=lambda m, x: scale * x[..., -IN:],
    )


def flat_energy(module: Any, x: Tensor, y: Tensor) -> Tensor:
    """The half space is the cone: the angle beyond 90 degrees between a vector and the way to another."""
    x, y = x[..., -IN:], y[..., -IN:]
    return (torch.cosine_similarity(x, y - x, dim=-1).acos() - 0.5 * torch.pi).relu()


def pairwise(name: str, manifold: Callable[..., Any]) -> LayerCase:
    """Energies of pairs of points."""
    return LayerCase(
        name,
        lambda c: EntailmentCone(manifold=manifold(c)),
        pair_on,
        (ROWS,),
        nowhere,
        frozenset({"rows", "export"}),
        flat=flat_energy,
    )


def vectors(name: str, manifold: Callable[..., Any]) -> LayerCase:
    """Points as vectors."""
    return LayerCase(
        name,
        lambda c: TangentFeatures(manifold=manifold(c)),
        rows_on,
        (ROWS, IN),
        nowhere,
        frozenset({"rows", "sparse", "export"}),
        flat=lambda m, x: x[..., -IN:],
    )


CASES = [
    *means("centroid", HyperbolicCentroid),
    # Three iterations are exact to rounding at the suite's radii, and eight take half a minute to trace.
    *means("frechet-mean", partial(FrechetMean, max_iterations=3)),
    encoding("positional-encoding-ball", "sinusoidal", PoincareBall, flat_offset),
    encoding("positional-encoding-lorentz", "sinusoidal", Lorentz, flat_offset),
    encoding("positional-encoding-learned-ball", "learned", PoincareBall, flat_offset),
    encoding("positional-encoding-learned-lorentz", "learned", Lorentz, flat_offset),
    encoding("positional-encoding-rotary-ball", "rotary", PoincareBall, flat_rotation),
    encoding("positional-encoding-rotary-lorentz", "rotary", Lorentz, flat_rotation),
    carried("manifold-map-ball-to-lorentz", PoincareBall, Lorentz, 2.0),
    carried("manifold-map-lorentz-to-ball", Lorentz, PoincareBall, 0.5),
    vectors("tangent-features-ball", partial(PoincareBall, learnable=True)),
    vectors("tangent-features-lorentz", partial(Lorentz, learnable=True)),
    pairwise("entailment-cone-ball", partial(PoincareBall, learnable=True)),
    pairwise("entailment-cone-lorentz", partial(Lorentz, learnable=True)),
]
