"""The ``manifold`` argument of every layer: ours, geoopt's, or left out."""

from __future__ import annotations

import geoopt

from hypersst.manifolds import Lorentz, PoincareBall

__all__ = ["as_ball", "as_hyperbolic", "as_lorentz"]


def as_lorentz(manifold: geoopt.Lorentz | None = None) -> Lorentz:
    r"""Return a `hypersst.manifolds.Lorentz`, converting geoopt's at the border.

    A plain `geoopt.Lorentz` with parameter ``k`` (sectional curvature :math:`-1/k`) becomes ``Lorentz(1 / k)``,
    learnable if ``k`` is. The converted manifold has a curvature parameter of its own; layers that shall share a
    learnable curvature must be given one `hypersst.manifolds.Lorentz`.

    Args:
        manifold: Either class, or ``None`` for curvature :math:`-1`.

    Returns:
        The same object if it is ours already.

    Raises:
        TypeError: If ``manifold`` is anything else.
    """
    if manifold is None:
        return Lorentz()
    if isinstance(manifold, Lorentz):
        return manifold
    if isinstance(manifold, geoopt.Lorentz):
        return Lorentz(1.0 / manifold.k.detach(), learnable=manifold.k.requires_grad)
    raise TypeError(f"`manifold` must be a geoopt.Lorentz or None, got {type(manifold).__name__}.")


def as_ball(manifold: geoopt.PoincareBall | None = None) -> PoincareBall:
    """Return a `hypersst.manifolds.PoincareBall`, converting geoopt's as `as_lorentz` does.

    Args:
        manifold: Either class, or ``None`` for curvature -1.

    Returns:
        The same object if it is ours already.

    Raises:
        TypeError: If ``manifold`` is anything else.
    """
    if manifold is None:
        return PoincareBall()
    if isinstance(manifold, PoincareBall):
        return manifold
    if isinstance(manifold, geoopt.PoincareBall):
        return PoincareBall(manifold.c.detach(), learnable=manifold.c.requires_grad)
    raise TypeError(f"`manifold` must be a geoopt.PoincareBall or None, got {type(manifold).__name__}.")


def as_hyperbolic(
    manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
) -> Lorentz | PoincareBall:
    """Return one of our two manifolds, a Poincaré ball of curvature -1 if left out.

    Args:
        manifold: A Lorentz manifold or a Poincaré ball, ours or geoopt's.

    Returns:
        The same object if it is ours already.

    Raises:
        TypeError: If ``manifold`` is anything else.
    """
    if manifold is None or isinstance(manifold, geoopt.PoincareBall):
        return as_ball(manifold)
    if isinstance(manifold, geoopt.Lorentz):
        return as_lorentz(manifold)
    raise TypeError(
        f"`manifold` must be a geoopt.Lorentz, a geoopt.PoincareBall or None, got {type(manifold).__name__}."
    )
