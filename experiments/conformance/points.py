"""Points, graphs and isometries on which layers are tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare, poincare_to_lorentz

__all__ = ["isometry", "off_manifold", "points", "shake", "small_graph"]


@torch.no_grad()
def shake(module: nn.Module, size: float = 0.1) -> None:
    """Move every Euclidean parameter, so that none sits at a special value such as zero."""
    for parameter in module.parameters():
        if not hasattr(parameter, "manifold"):
            parameter.add_(size * torch.randn_like(parameter))


def points(
    manifold: Lorentz | PoincareBall,
    *shape: int,
    radius: float = 1.0,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Tensor:
    """Random points about ``radius / sqrt(c)`` from the origin; ``shape`` ends in the intrinsic dimension."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(*shape, generator=generator, dtype=dtype)
    v = radius * v / v.norm(dim=-1, keepdim=True) / float(manifold.c.detach()) ** 0.5
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


def small_graph() -> tuple[Tensor, int]:
    """Directed edges on six nodes, different numbers in and out, node 5 alone."""
    return torch.tensor([[0, 1, 2, 3, 4, 0, 0, 3], [1, 2, 0, 1, 3, 3, 4, 4]]), 6


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
