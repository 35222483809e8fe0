"""What is said of a layer so that every law of the conformance suite can be run on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import geoopt
import torch
from torch import Tensor, nn

from hypersst.experiments.conformance.points import off_manifold, shake
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn import CSRMatrix

__all__ = [
    "CLAIMS",
    "IN",
    "OUT",
    "ROWS",
    "C",
    "LayerCase",
    "Reading",
    "dense",
    "layer_of",
    "nowhere",
    "on_manifold",
    "own_manifold",
]

C = 0.75  # exact in float32, so a cast layer has the same curvature
ROWS, IN, OUT = 6, 5, 4  # nodes of `small_graph`; no two sizes alike

#: What a layer may promise beyond the laws that hold for all.
CLAIMS = {
    "rows": "treats each row of its inputs by itself",
    "graph": "takes nodes and edges, as `edge_index` or sparse `adj_t`; node order and batching do not matter",
    "isometry": "moving inputs, outputs and parameters on the manifold by one isometry changes nothing else",
    "sparse": "takes a `CSRMatrix` as its first input",
    "spectral": "has a weight that `spectralize` selects",
    "export": "passes through `torch.export`",
}


def own_manifold(module: Any) -> geoopt.Manifold | None:
    """Where most layers' outputs lie."""
    return module.manifold


def nowhere(module: Any) -> None:
    """For outputs that are plain numbers."""


@dataclass(frozen=True)
class LayerCase:
    """A layer, its inputs and its promises.

    Args:
        name: Its name in the test's id.
        build: From a curvature parameter to a layer; parameters may have special values.
        inputs: From the layer and a precision to its inputs.
        shape: Shape of the output for these inputs.
        on: From the layer to the manifold on which its output lies, None for plain numbers.
        claims: Names of `CLAIMS`.
        prepare: From edges, number of nodes and dtype to the `CSRMatrix` that means the same graph, if it takes one.
        flat: Its Euclidean twin, from the layer and inputs to the limit of the output for c → 0, if it claims one.
    """

    name: str
    build: Callable[[float], nn.Module]
    inputs: Callable[[Any, torch.dtype], tuple[Tensor, ...]]
    shape: tuple[int, ...]
    on: Callable[[Any], geoopt.Manifold | None] = own_manifold
    claims: frozenset[str] = frozenset()
    prepare: Callable[..., CSRMatrix] | None = None
    flat: Callable[..., Tensor] | None = None

    def __str__(self) -> str:
        return self.name

    def make(self, c: float = C, seed: int = 0) -> nn.Module:
        """A layer in float32 without a parameter at a special value."""
        torch.manual_seed(seed)
        module = self.build(c)
        shake(module)
        return module


class Reading(nn.Module):
    """A layer whose result, a tuple or a record, is read as one tensor.

    Args:
        layer: The layer.
        read: From its result to a tensor.
    """

    def __init__(self, layer: nn.Module, read: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.read = read

    @property
    def manifold(self) -> Any:
        """Where the layer's points lie."""
        return self.layer.manifold

    def forward(self, *inputs: Tensor) -> Tensor:
        """What the layer says of its inputs, as one tensor."""
        return self.read(self.layer(*inputs))


def layer_of(module: nn.Module) -> nn.Module:
    """What a case is about, without its `Reading`."""
    return module.layer if isinstance(module, Reading) else module


def on_manifold(y: Tensor | CSRMatrix, manifold: geoopt.Manifold, ulps: float = 16) -> bool:
    """Whether rows lie on the manifold up to rounding; time is a root of a sum of squares, whatever the radius."""
    y = dense(y).detach()
    if isinstance(manifold, Lorentz | PoincareBall):
        return off_manifold(y, manifold) < ulps * torch.finfo(y.dtype).eps
    return manifold.check_point_on_manifold(y, atol=1e-5, rtol=1e-5)


def dense(y: Tensor | CSRMatrix) -> Tensor:
    """The rows with their zeros."""
    return y.to_dense() if isinstance(y, CSRMatrix) else y
