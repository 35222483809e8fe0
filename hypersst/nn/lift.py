"""Euclidean features onto the manifold, dense or sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import geoopt
import torch
from torch import Tensor, nn

from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.origin import exp0, lift_rows
from hypersst.nn.sparse import CSRMatrix
from hypersst.tracing import is_traced

__all__ = ["LiftFeatures", "LiftedFeatures"]


@dataclass(frozen=True, eq=False)
class LiftedFeatures:
    """Features that lie on the manifold already, as `LiftFeatures.prepared` gives them.

    Attributes:
        points: Shape ``(*, ambient)``, dense or sparse.
        shape: Shape of the features that they were.
    """

    points: Tensor | CSRMatrix
    shape: tuple[int, ...]


class LiftFeatures(nn.Module):
    r"""Read Euclidean features as tangent vectors at the origin and send them onto the manifold.

    On the Lorentz manifold that is HyboNet's :math:`\exp_0((0, x))`, whose norm is clamped at 10 there; here the
    manifold's own largest radius (about 7 in float32) does that. On the ball it is HGCN's :math:`\exp_0(x)`.
    A sparse matrix stays sparse: it gains a stored time column on the Lorentz manifold and nothing on the ball.

    In transductive training the features are the same object in every step, so the last result is kept and given
    out again for as long as features and curvature are unchanged and need no gradient.

    Sources: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, as in the authors' code; Chami et al. (2019),
    *Hyperbolic Graph Convolutional Neural Networks*.

    Use: as the first layer of any network whose features are Euclidean, sparse ones included.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes over the stored entries.

    Args:
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.

    Shapes:
        - input: ``(*, d)``, or a `CSRMatrix` with ``d`` columns;
        - output: ``(*, d + 1)`` on the Lorentz manifold, ``(*, d)`` on the ball, sparse if the input is.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> LiftFeatures(manifold=Lorentz())(torch.zeros(2, 3))
        tensor([[1., 0., 0., 0.],
                [1., 0., 0., 0.]])
    """

    def __init__(self, *, manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None) -> None:
        super().__init__()
        self.manifold = as_hyperbolic(manifold)
        self._source: Tensor | CSRMatrix | None = None
        self._stamp: tuple[Any, ...] = ()
        self._lifted: Tensor | CSRMatrix | None = None
        self._version = 0

    def prepared(self, features: Tensor | CSRMatrix | LiftedFeatures) -> Tensor | CSRMatrix | LiftedFeatures:
        """Lift features once and for all; returns them as they are if a learned curvature would move their points."""
        if isinstance(features, LiftedFeatures) or any(p.requires_grad for p in self.manifold.parameters()):
            return features
        with torch.no_grad():
            return LiftedFeatures(self._lift(features), tuple(features.shape))

    def forward(self, features: Tensor | CSRMatrix | LiftedFeatures) -> Tensor | CSRMatrix:
        """Lift ``features``, shape ``(*, d)``; what is lifted stays as it is."""
        if isinstance(features, LiftedFeatures):
            return features.points
        stamp = self._state_of(features)
        if not stamp:
            return self._lift(features)
        if self._lifted is None or features is not self._source or stamp != self._stamp or self._touched():
            self._source, self._stamp, self._lifted = features, stamp, self._lift(features)
            self._version = _values(self._lifted)._version
        return self._lifted

    def _touched(self) -> bool:
        """Whether somebody wrote into the result that was given out."""
        return self._lifted is not None and _values(self._lifted)._version != self._version

    def _lift(self, features: Tensor | CSRMatrix) -> Tensor | CSRMatrix:
        if isinstance(features, CSRMatrix):
            return lift_rows(features, self.manifold)
        return exp0(features, self.manifold)

    def _state_of(self, features: Tensor | CSRMatrix) -> tuple[Any, ...]:
        """Changes whenever the result would; empty if the result must not be kept."""
        # A traced tensor has no identity, and an inference tensor cannot enter autograd later.
        tensors = (_values(features), *self.manifold.parameters(), *self.manifold.buffers())
        if is_traced(*tensors) or torch.is_inference_mode_enabled():
            return ()
        if any(t.requires_grad or t.is_inference() for t in tensors):
            return ()
        return tuple((id(t), t._version, t.dtype, t.device) for t in tensors)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles do not carry the features along."""
        return {**self.__dict__, "_source": None, "_stamp": (), "_lifted": None}


def _values(x: Tensor | CSRMatrix) -> Tensor:
    return x.values if isinstance(x, CSRMatrix) else x
