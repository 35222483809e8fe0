"""Points and tangent vectors of both manifolds, for every law to run over.

A failing case is rebuilt at the prompt by ``Case("lorentz", torch.float32, 4.0, (3,))``.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall

DIM = 3
MODELS = ("lorentz", "poincare")
DTYPES = (torch.float32, torch.float64)
CURVATURES = (1e-3, 1.0, 4.0)
SHAPES = ((), (2, 3))


@dataclass(frozen=True)
class Case:
    """One manifold in one precision, with points in one batch shape."""

    model: str
    dtype: torch.dtype = torch.float64
    c: float = 1.0
    shape: tuple[int, ...] = (5,)

    def __str__(self) -> str:
        return f"{self.model}-{str(self.dtype).removeprefix('torch.')}-c{self.c:g}-{self.shape}"

    @property
    def manifold(self) -> Lorentz | PoincareBall:
        """A fresh manifold with its curvature in the precision of the case."""
        kind = Lorentz if self.model == "lorentz" else PoincareBall
        return kind(torch.tensor(self.c, dtype=self.dtype))

    @property
    def coordinates(self) -> int:
        """Numbers that make a point."""
        return DIM + 1 if self.model == "lorentz" else DIM

    @property
    def eps(self) -> float:
        return torch.finfo(self.dtype).eps

    def normal(self, seed: int, std: float = 1.0) -> Tensor:
        """Random intrinsic coordinates of a tangent vector at the origin, ``std`` in units of 1/√c."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(*self.shape, DIM, generator=generator, dtype=torch.float64)
        return (noise * (std / math.sqrt(self.c))).to(self.dtype)

    def at_origin(self, seed: int, std: float = 1.0) -> Tensor:
        """Random tangent vector at the origin in the coordinates of the manifold."""
        v = self.normal(seed, std)
        # The metric of the ball is 4 dx² at the origin.
        return torch.cat((torch.zeros_like(v[..., :1]), v), dim=-1) if self.model == "lorentz" else 0.5 * v

    def point(self, seed: int, std: float = 1.0) -> Tensor:
        """Random points, the same ones for both models."""
        return self.manifold.expmap0(self.at_origin(seed, std))

    def tangent(self, x: Tensor, seed: int, std: float = 1.0) -> Tensor:
        """Random tangent vectors at x."""
        return self.manifold.transp0(x, self.at_origin(seed, std))

    def origin(self) -> Tensor:
        """The origin in the batch shape, as a plain tensor."""
        return self.manifold.origin(*self.shape, self.coordinates).as_subclass(torch.Tensor)

    def stretch(self, *points: Tensor) -> float:
        """What rounding a point costs: the largest cosh(√c·radius)."""
        radius = max((float(self.manifold.dist0(p).max()) for p in points if p.numel()), default=0.0)
        return math.cosh(math.sqrt(self.c) * radius)


def cases(shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[Case]:
    """All models × precisions × curvatures × batch shapes."""
    return [Case(m, t, c, s) for m in MODELS for t in DTYPES for c in CURVATURES for s in shapes]


def doubles() -> list[Case]:
    """All models × curvatures in float64."""
    return [Case(m, torch.float64, c) for m in MODELS for c in CURVATURES]
