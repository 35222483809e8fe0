"""Manifolds, points, graphs and layers for the tests of `hypersst.nn` and `hypersst.models`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn import LorentzLinear, MobiusLinear, PoincareLinear

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


@torch.no_grad()
def shake(module: nn.Module, size: float = 0.1) -> None:
    """Move every Euclidean parameter, so that none sits at a special value such as zero."""
    for parameter in module.parameters():
        if not hasattr(parameter, "manifold"):
            parameter.add_(size * torch.randn_like(parameter))


def points(
    manifold: Lorentz | PoincareBall, *shape: int, radius: float = 1.0, dtype=torch.float64, seed: int = 0
) -> Tensor:
    """Random points about ``radius / sqrt(c)`` from the origin; ``shape`` ends in the intrinsic dimension."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(*shape, generator=generator, dtype=dtype)
    v = radius * v / v.norm(dim=-1, keepdim=True) / float(manifold.c) ** 0.5
    with torch.no_grad():
        if isinstance(manifold, Lorentz):
            return manifold.expmap0_space(v)
        return manifold.expmap0(0.5 * v)  # the ball's map doubles lengths


def off_manifold(x: Tensor, manifold: Lorentz | PoincareBall) -> float:
    """How far rows are from the manifold: relative error of time, or excess of the norm over the ball's."""
    x, c = x.detach(), manifold.c.item()
    if isinstance(manifold, Lorentz):
        time = (1 / c + x[..., 1:].double().square().sum(-1)).sqrt()
        return float((x[..., 0].double() / time - 1).abs().max())
    return float((x.double().norm(dim=-1) * c**0.5 - 1).clamp_min(0).max() + (x.norm(dim=-1) * c**0.5 == 1).sum())


def sparse_features(rows: int = 6, columns: int = 10, dtype=torch.float64, seed: int = 0) -> Tensor:
    """Dense matrix, three quarters zeros, with one row of nothing but zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator, dtype=dtype)
    x = x * (torch.rand(rows, columns, generator=generator, dtype=dtype) < 0.25)
    x[1] = 0.0
    return x


def small_graph() -> tuple[Tensor, int]:
    """Directed edges on six nodes, different numbers in and out, node 5 alone."""
    return torch.tensor([[0, 1, 2, 3, 4, 0, 0, 3], [1, 2, 0, 1, 3, 3, 4, 4]]), 6


def sparse_adjacency(edge_index: Tensor, values: Tensor, num_nodes: int, layout=torch.sparse_csr) -> Tensor:
    """PyG's ``adj_t``: a torch sparse matrix with targets as rows."""
    size = (num_nodes, num_nodes)
    coo = torch.sparse_coo_tensor(edge_index.flip(0), values, size, check_invariants=True).coalesce()
    return {
        torch.sparse_coo: lambda: coo,
        torch.sparse_csr: coo.to_sparse_csr,
        torch.sparse_csc: coo.to_sparse_csc,
    }[layout]()
