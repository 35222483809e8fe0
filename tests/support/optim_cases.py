"""Parameters on all manifolds, their gradients, and pairs of optimizers to compare.

A failing case is rebuilt at the prompt by ``parameters("lorentz", torch.float64)``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import geoopt
import torch
from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall

MANIFOLDS = {
    "flat": lambda dtype: geoopt.Euclidean(),
    "sphere": lambda dtype: geoopt.Sphere(),
    "lorentz": lambda dtype: Lorentz(torch.tensor(0.7, dtype=dtype)),
    "ball": lambda dtype: PoincareBall(torch.tensor(0.7, dtype=dtype)),
    "geoopt-lorentz": lambda dtype: geoopt.Lorentz(torch.tensor(1.5, dtype=dtype)),
    "geoopt-ball": lambda dtype: geoopt.PoincareBall(torch.tensor(0.7, dtype=dtype)),
    "stiefel": lambda dtype: geoopt.EuclideanStiefel(),
}
POINTS = tuple(name for name in MANIFOLDS if name != "flat")
# Of each shape two, and shapes with and without axes before those of a point.
SHAPES = ((4, 3), (5, 4, 3), (4, 3), (5, 4, 3), (7, 3))


def place(manifold, numbers: Tensor) -> Tensor:
    """Send arbitrary numbers onto a manifold, at a moderate distance from its origin."""
    if isinstance(manifold, geoopt.Lorentz):
        tangent = torch.cat((torch.zeros_like(numbers[..., :1]), numbers[..., 1:]), dim=-1)
        return manifold.expmap0(tangent)
    if isinstance(manifold, geoopt.PoincareBall):
        return manifold.expmap0(0.5 * numbers)
    return manifold.projx(numbers)


def parameters(
    name: str, dtype: torch.dtype = torch.float64, shapes: Sequence[tuple[int, ...]] = SHAPES, seed: int = 0, **options
) -> list[geoopt.ManifoldParameter]:
    """Points, each with a manifold object of its own unless ``manifold`` says which."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for shape in shapes:
        manifold = options.get("manifold") or MANIFOLDS[name](dtype)
        numbers = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        result.append(geoopt.ManifoldParameter(place(manifold, numbers), manifold=manifold))
    return result


def mixture(dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    """Plain parameters and points of all kinds, interleaved."""
    plain = [torch.nn.Parameter(p.detach().as_subclass(Tensor).clone()) for p in parameters("flat", dtype)]
    kinds = [plain, *(parameters(name, dtype) for name in MANIFOLDS)]
    return [p for row in zip(*kinds, strict=True) for p in row]


def give_gradients(params: Sequence[Tensor], step: int) -> None:
    """Gradients of one step, the same for every list of parameters of the same shapes."""
    generator = torch.Generator().manual_seed(1000 + step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def run(optimizer: torch.optim.Optimizer, params: Sequence[Tensor], steps: range | int) -> None:
    """Steps with the gradients of their numbers."""
    for step in range(steps) if isinstance(steps, int) else steps:
        give_gradients(params, step)
        optimizer.step()


def values(params: Sequence[Tensor]) -> list[Tensor]:
    """The numbers of parameters as plain tensors of their own."""
    return [p.detach().as_subclass(Tensor).clone() for p in params]


def twins(params: list[torch.nn.Parameter]) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """The parameters and copies of them."""
    return params, [copy.deepcopy(p) for p in params]


def assert_close(ours: Sequence[Tensor], theirs: Sequence[Tensor], params: Sequence[Tensor] | None = None) -> None:
    """Equal up to a thousand roundings, or a million on geoopt's hyperboloid, whose transport magnifies them.

    ``params`` are the parameters that the tensors belong to, by default the first list itself.
    """
    for a, b, p in zip(values(ours), values(theirs), params or ours, strict=True):
        wild = type(getattr(p, "manifold", None)) is geoopt.Lorentz
        tolerance = (1e6 if wild else 1e3) * torch.finfo(a.dtype).eps
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def assert_equal(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    """Equal bit for bit."""
    assert all(torch.equal(a, b) for a, b in zip(values(ours), values(theirs), strict=True))
