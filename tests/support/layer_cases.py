"""Manifolds, points, graphs and layers for the tests of `hypersst.nn` and `hypersst.models`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypersst.experiments.conformance.points import off_manifold, points, shake, small_graph
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn import LorentzLinear, MobiusLinear, PoincareLinear

__all__ = [
    "CURVATURES",
    "LINEARS",
    "MANIFOLDS",
    "make_linear",
    "manifold_of",
    "off_manifold",
    "points",
    "shake",
    "small_graph",
    "sparse_adjacency",
    "sparse_features",
]

CURVATURES = (0.25, 1.0, 2.5)  # exact in float32, so a cast layer has the same
MANIFOLDS = {"ball": PoincareBall, "lorentz": Lorentz}
LINEARS = {
    "gated": lambda i, o, **kw: LorentzLinear(i, o, time="gated", **kw),
    "recomputed": lambda i, o, **kw: LorentzLinear(i, o, time="recomputed", **kw),
    "hyperplane": lambda i, o, **kw: LorentzLinear(i, o, time="hyperplane", **kw),
    "poincare": PoincareLinear,
    "mobius-ball": MobiusLinear,
    "mobius-lorentz": MobiusLinear,
}


def manifold_of(name: str, c: float = 1.0, **options) -> Lorentz | PoincareBall:
    """A manifold that fits the linear layer called ``name`` in `LINEARS`."""
    return (PoincareBall if name in ("ball", "poincare", "mobius-ball") else Lorentz)(c, **options)


def make_linear(name: str, fan_in: int, fan_out: int, c: float = 1.0, seed: int = 0, **options) -> nn.Module:
    """A linear layer with weights and biases that are all non-zero."""
    torch.manual_seed(seed)
    layer = LINEARS[name](fan_in, fan_out, manifold=manifold_of(name, c), **options)
    shake(layer)
    return layer


def sparse_features(rows: int = 6, columns: int = 10, dtype=torch.float64, seed: int = 0) -> Tensor:
    """Dense matrix, three quarters zeros, with one row of nothing but zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator, dtype=dtype)
    x = x * (torch.rand(rows, columns, generator=generator, dtype=dtype) < 0.25)
    x[1] = 0.0
    return x


def sparse_adjacency(edge_index: Tensor, values: Tensor, num_nodes: int, layout=torch.sparse_csr) -> Tensor:
    """PyG's ``adj_t``: a torch sparse matrix with targets as rows."""
    size = (num_nodes, num_nodes)
    coo = torch.sparse_coo_tensor(edge_index.flip(0), values, size, check_invariants=True).coalesce()
    return {
        torch.sparse_coo: lambda: coo,
        torch.sparse_csr: coo.to_sparse_csr,
        torch.sparse_csc: coo.to_sparse_csc,
    }[layout]()
