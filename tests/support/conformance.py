"""One entry for each layer of `hypersst.nn`; ``tests/nn/test_conformance.py`` runs every law over all of them.

A new layer adds one `LayerCase` to `CASES`, its default options first, and inherits the laws. A failing case is
rebuilt at the prompt by ``CASE["lorentz-conv"].make()``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import geoopt
import torch
from layer_cases import off_manifold, points, shake, small_graph
from torch import Tensor, nn

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare, poincare_to_lorentz
from hypersst.manifolds.stereographic import Stereographic
from hypersst.nn import (
    CSRMatrix,
    FermiDirac,
    GCNConv,
    H2HConv,
    HGNNConv,
    HyperbolicEmbedding,
    InnerProduct,
    LGCNConv,
    LiftFeatures,
    LorentzConv,
    LorentzGATConv,
    LorentzGINConv,
    LorentzLinear,
    LorentzMLR,
    LorentzOrthogonal,
    LorentzSAGEConv,
    LorentzScore,
    MobiusConv,
    MobiusLinear,
    PoincareLinear,
    PoincareMLR,
    PrototypeHead,
    StereographicConv,
    StereographicLinear,
    TangentHead,
    normalized_adjacency,
)

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


def own_manifold(module: nn.Module) -> geoopt.Manifold | None:
    """Where most layers' outputs lie."""
    return module.manifold


def nowhere(module: nn.Module) -> None:
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
    inputs: Callable[[nn.Module, torch.dtype], tuple[Tensor, ...]]
    shape: tuple[int, ...]
    on: Callable[[nn.Module], geoopt.Manifold | None] = own_manifold
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


def on_manifold(y: Tensor | CSRMatrix, manifold: geoopt.Manifold, ulps: float = 16) -> bool:
    """Whether rows lie on the manifold up to rounding; time is a root of a sum of squares, whatever the radius."""
    y = dense(y).detach()
    if isinstance(manifold, Lorentz | PoincareBall):
        return off_manifold(y, manifold) < ulps * torch.finfo(y.dtype).eps
    return manifold.check_point_on_manifold(y, atol=1e-5, rtol=1e-5)


def dense(y: Tensor | CSRMatrix) -> Tensor:
    """The rows with their zeros."""
    return y.to_dense() if isinstance(y, CSRMatrix) else y


def isometry(manifold: Lorentz | PoincareBall, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """A rotation, then a boost by 0.7, on points of any number of dimensions, the same for the same number."""

    def move(x: Tensor) -> Tensor:
        if isinstance(manifold, Lorentz):
            return x @ _boosted_rotation(x.shape[-1] - 1, seed).t().to(x)
        c = manifold.c.detach()
        matrix = _boosted_rotation(x.shape[-1], seed)
        return lorentz_to_poincare(poincare_to_lorentz(x, c) @ matrix.t().to(x), c)

    return move


def _boosted_rotation(dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    rotation = torch.eye(dim + 1, dtype=torch.float64)
    rotation[1:, 1:] = torch.linalg.qr(draw(dim, dim)).Q
    u, t = draw(dim), torch.tensor(0.7, dtype=torch.float64)
    u = u / u.norm()
    boost = torch.eye(dim + 1, dtype=torch.float64)
    boost[0, 0], boost[0, 1:], boost[1:, 0] = t.cosh(), t.sinh() * u, t.sinh() * u
    boost[1:, 1:] += (t.cosh() - 1.0) * torch.outer(u, u)
    return boost @ rotation


# Inputs


def rows_on(module: nn.Module, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor]:
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


def pair_on(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two lists of points."""
    return rows_on(module, dtype) + rows_on(module, dtype, seed=1)


def graph_on(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Points as nodes of a small graph."""
    return (*rows_on(module, dtype), small_graph()[0])


def features(module: nn.Module, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor]:
    """Euclidean rows of norm about one, a quarter of their entries zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, IN, generator=generator, dtype=torch.float64) / IN**0.5
    return ((x * (torch.rand(ROWS, IN, generator=generator) > 0.25)).to(dtype),)


def feature_pair(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two lists of Euclidean rows."""
    return features(module, dtype) + features(module, dtype, seed=1)


def feature_graph(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Euclidean rows as nodes of a small graph."""
    return (*features(module, dtype), small_graph()[0])


# Entries

by_row = partial(normalized_adjacency, normalization="row")
unscaled = partial(normalized_adjacency, normalization="none")
without_loops = partial(normalized_adjacency, normalization="none", add_self_loops=False)
by_degree = partial(normalized_adjacency, normalization="sym")


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


def conv(
    name: str, build: Callable[..., nn.Module], manifold: Callable[[float], geoopt.Manifold], claims: str, **fields: Any
) -> LayerCase:
    """A graph convolution; ``claims`` are further ones, separated by blanks."""
    return LayerCase(
        name,
        lambda c: build(IN, OUT, manifold=manifold(c)),
        graph_on,
        (ROWS, OUT + (manifold is Lorentz)),
        claims=frozenset({"graph", "export", *claims.split()}),
        **fields,
    )


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


def _network(fan_in: int, fan_out: int, manifold: Lorentz) -> nn.Module:
    inner = LorentzLinear(fan_in, fan_out, time="recomputed", manifold=manifold)
    return LorentzGINConv(inner, train_eps=True, manifold=manifold)


def _flat_linear(layer: nn.Module, x: Tensor) -> Tensor:
    return x[..., -IN:] @ layer.weight.t() + layer.bias


def _flat_mean(conv: nn.Module, x: Tensor, edge_index: Tensor) -> Tensor:
    return by_row(edge_index, len(x), dtype=x.dtype).to_dense() @ _flat_linear(conv.lin, x)


def _flat_hyperplanes(layer: nn.Module, x: Tensor) -> Tensor:
    # The conformal factor tends to 2, the hyperbolic functions to their arguments.
    return 4.0 * (x @ layer.weight.t() - layer.bias * layer.weight.norm(dim=-1))


CASES = [
    linear("lorentz-gated", LorentzLinear, Lorentz),
    linear("lorentz-recomputed", partial(LorentzLinear, time="recomputed"), Lorentz),
    linear("lorentz-hyperplane", partial(LorentzLinear, time="hyperplane"), Lorentz),
    # Its outputs are coordinates y of a point near w / 2, w being the distances.
    linear("poincare-linear", PoincareLinear, PoincareBall, flat=lambda m, x: 0.5 * _flat_hyperplanes(m, x)),
    linear("mobius-ball", MobiusLinear, PoincareBall, flat=_flat_linear),
    linear("mobius-lorentz", MobiusLinear, Lorentz, flat=_flat_linear),
    linear("stereographic-ball", StereographicLinear, lambda c: Stereographic(-c), flat=_flat_linear),
    linear("stereographic-sphere", StereographicLinear, Stereographic, flat=_flat_linear),
    LayerCase(
        "lorentz-orthogonal",
        # Columns can be orthonormal if there are no more of them than rows.
        lambda c: LorentzOrthogonal(IN, IN + 2, manifold=Lorentz(c)),
        rows_on,
        (ROWS, IN + 3),
        claims=frozenset({"rows", "sparse", "export"}),
    ),
    conv("lorentz-conv", LorentzConv, Lorentz, "sparse spectral", prepare=by_row),
    conv("mobius-conv-ball", MobiusConv, PoincareBall, "sparse spectral", prepare=by_row, flat=_flat_mean),
    conv("mobius-conv-lorentz", MobiusConv, Lorentz, "sparse spectral", prepare=by_row, flat=_flat_mean),
    conv("hgnn-conv-ball", HGNNConv, PoincareBall, "sparse spectral", prepare=by_row),
    conv("hgnn-conv-lorentz", HGNNConv, Lorentz, "sparse spectral", prepare=by_row),
    conv("lgcn-conv", LGCNConv, Lorentz, "sparse spectral", prepare=unscaled),
    conv("lorentz-gat-conv", LorentzGATConv, Lorentz, "sparse spectral", prepare=unscaled),
    LayerCase(
        "lorentz-gat-conv-heads",
        lambda c: LorentzGATConv(IN, OUT, heads=3, manifold=Lorentz(c)),
        graph_on,
        (ROWS, 3 * OUT + 1),
        claims=frozenset({"graph", "export", "sparse", "spectral"}),
        prepare=unscaled,
    ),
    conv("lorentz-sage-conv", LorentzSAGEConv, Lorentz, "spectral", prepare=without_loops),
    conv("lorentz-gin-conv", _network, Lorentz, "spectral", prepare=without_loops),
    conv("stereographic-conv-ball", StereographicConv, lambda c: Stereographic(-c), "sparse spectral", prepare=by_row),
    conv("stereographic-conv-sphere", StereographicConv, Stereographic, "sparse spectral", prepare=by_row),
    LayerCase(
        "h2h-conv",
        lambda c: H2HConv(IN, IN + 2, manifold=Lorentz(c)),
        graph_on,
        (ROWS, IN + 3),
        claims=frozenset({"graph", "export", "sparse"}),
        prepare=by_row,
    ),
    LayerCase(
        "gcn-conv",
        lambda c: GCNConv(IN, OUT),
        feature_graph,
        (ROWS, OUT),
        nowhere,
        frozenset({"graph", "sparse", "spectral", "export"}),
        prepare=by_degree,
    ),
    head("prototype-head", PrototypeHead, Lorentz, "isometry"),
    head("lorentz-mlr", LorentzMLR, Lorentz, "spectral"),
    head("poincare-mlr", PoincareMLR, PoincareBall, "spectral", flat=_flat_hyperplanes),
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
    ),
    LayerCase(
        "embedding-lorentz",
        lambda c: HyperbolicEmbedding(7, OUT, manifold=Lorentz(c), std=0.5),
        lambda m, d: (torch.tensor([3, 0, 3, 6, 1, 2]),),
        (ROWS, OUT + 1),
        claims=frozenset({"rows", "isometry", "export"}),
    ),
]
CASE = {case.name: case for case in CASES}
