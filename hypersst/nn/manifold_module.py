"""Parameters that stay on their manifold when a module is moved or loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import geoopt
import torch
from torch import Tensor, nn

__all__ = ["ManifoldModule", "manifold_parameter"]


class ManifoldModule(nn.Module):
    """Base of modules that own a `geoopt.ManifoldParameter`.

    torch makes a plain `torch.nn.Parameter` in place of the old one where it cannot fill that: on ``to("meta")``,
    ``to_empty`` and ``load_state_dict(assign=True)``. geoopt's optimizers would then take Euclidean steps and say
    nothing. Here the new parameter gets the class and the manifold of the one that it replaces; whatever torch fills in
    place is left alone.

    Example:
        >>> from hypersst.nn import PrototypeHead
        >>> head = PrototypeHead(2, 3).to("meta")
        >>> _ = head.load_state_dict(PrototypeHead(2, 3).state_dict(), assign=True)
        >>> head.prototypes.manifold is head.manifold
        True
    """

    @property
    def parameter_manifolds(self) -> Mapping[str, geoopt.Manifold]:
        """Where the module's own points lie, by name; also where a wrapper has taken the class from a parameter."""
        return self.__dict__.get("_parameter_manifolds", {})

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Add a parameter, as `torch.nn.Module.register_parameter` does, and note its manifold."""
        super().register_parameter(name, param)
        if isinstance(param, geoopt.ManifoldParameter):
            self._parameter_manifolds = {**self.parameter_manifolds, name: param.manifold}

    @contextmanager
    def _manifolds_kept(self) -> Iterator[None]:
        before = {n: p.manifold for n, p in self._parameters.items() if isinstance(p, geoopt.ManifoldParameter)}
        try:
            yield
        finally:
            # Also after an error: a strict load raises when the parameters are replaced already.
            for name, manifold in before.items():
                parameter = self._parameters[name]
                if parameter is not None and not isinstance(parameter, geoopt.ManifoldParameter):
                    self._parameters[name] = manifold_parameter(parameter, manifold, parameter.requires_grad)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ManifoldModule:
        with self._manifolds_kept():
            return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        with self._manifolds_kept():
            super()._load_from_state_dict(*args, **kwargs)


def manifold_parameter(
    values: Tensor, manifold: geoopt.Manifold, requires_grad: bool = True
) -> geoopt.ManifoldParameter:
    """Make a parameter whose values are known to lie on a manifold.

    geoopt's constructor looks at the values, of which there are none on the meta device.

    Args:
        values: Points.
        manifold: Where they lie.
        requires_grad: Whether they are trained.
    """
    found = torch.Tensor._make_subclass(geoopt.ManifoldParameter, values.detach(), requires_grad)
    found.manifold = manifold
    return found
