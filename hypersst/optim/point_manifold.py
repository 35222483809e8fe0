"""Which manifold a parameter lives on, and which manifolds are one and the same for a step."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import geoopt
from geoopt.manifolds import CanonicalStiefel, EuclideanStiefel, EuclideanStiefelExact, Manifold, SphereExact
from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.sharding import is_sharded

__all__ = ["KNOWN", "Watched", "likeness", "manifold_of", "numbers_of"]

# A tensor of a manifold, where it is registered, and its version: all that the manifold's verbs read.
Watched = tuple[Mapping[str, Any], str, Tensor, int]

# Two objects of one of these classes are the same manifold if their numbers are; others may hold more. And none of
# these keeps a tensor that a verb made.
KNOWN = (
    geoopt.Sphere,
    SphereExact,
    EuclideanStiefel,
    EuclideanStiefelExact,
    CanonicalStiefel,
    geoopt.Lorentz,
    geoopt.PoincareBall,
    Lorentz,
    PoincareBall,
)


_SPHERE = geoopt.Sphere()


def manifold_of(parameter: Tensor, group: Mapping[str, Any]) -> Any | None:
    """Manifold of a parameter, or of its group where a wrapper replaced the parameter's class; None for flat space.

    Args:
        parameter: A parameter of the group.
        group: A parameter group, which may name a ``manifold``; ``"sphere"`` stands for that of rows of unit length.

    Raises:
        TypeError: If ``group["manifold"]`` is no manifold.
        ValueError: If parameter and group name two manifolds, the parameter's shape is not one of its points', or it is
            sharded and its points are not whole in each process.
    """
    named = group.get("manifold")
    if named == "sphere":
        named = _SPHERE
    own = parameter.manifold if isinstance(parameter, geoopt.ManifoldTensor) else None
    if named is not None and not isinstance(named, Manifold):
        raise TypeError(f"`manifold` of a group must be a geoopt manifold or 'sphere', got {type(named).__name__}.")
    if own is not None and named is not None and likeness(own) != likeness(named):
        raise ValueError(
            f"`manifold` of a group must be that of its parameters, got {named!r} for a parameter on {own!r}: give the "
            f"parameter a group of its own."
        )
    manifold = named if own is None else own
    if manifold is None or type(manifold) is geoopt.Euclidean:
        return None
    fits, reason = manifold.check_point(parameter, explain=True)
    if not fits:
        raise ValueError(f"`params` on {manifold.name} must have the shape of its points, but {reason}")
    if is_sharded(parameter) and parameter.dim() <= manifold.ndim:
        raise ValueError(
            f"`params` on {manifold.name} must not be sharded in a point, which has {manifold.ndim} axes, got shape "
            f"{tuple(parameter.shape)}: leave it out of `fully_shard`."
        )
    return manifold


def likeness(manifold: Any) -> Hashable:
    """Equal keys of two manifolds mean that one may step the points of the other."""
    numbers = numbers_of(manifold)
    if type(manifold) not in KNOWN or any(tensor.numel() != 1 or tensor.requires_grad for _, _, tensor, _ in numbers):
        return (id(manifold),)
    values = tuple((name, tensor.item(), tensor.dtype, tensor.device) for _, name, tensor, _ in numbers)
    return (type(manifold), getattr(manifold, "max_radius", None), values)


def numbers_of(manifold: Any) -> list[Watched]:
    """Parameters and buffers of the manifold itself; whoever kept its `likeness` looks whether they are still these."""
    places = (manifold._parameters, manifold._buffers)
    found = [(place, name, tensor) for place in places for name, tensor in place.items() if tensor is not None]
    return [(place, name, tensor, tensor._version) for place, name, tensor in found]
