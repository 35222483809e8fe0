"""A table of points, looked up by index."""

from __future__ import annotations

from collections.abc import Callable

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn.manifold_argument import as_hyperbolic
from hypersst.nn.manifold_module import ManifoldModule, manifold_parameter
from hypersst.nn.shapes import check_channels

__all__ = ["HyperbolicEmbedding"]


class HyperbolicEmbedding(ManifoldModule):
    r"""Look up points by index, as `torch.nn.Embedding` looks up vectors.

    The table ``weight`` is a `geoopt.ManifoldParameter`, so a Riemannian optimizer moves its rows along the manifold.
    With ``sparse=True`` its gradient is sparse, and a step costs as much as the rows that a batch looked up: that needs
    `geoopt.optim.SparseRiemannianAdam` or `geoopt.optim.SparseRiemannianSGD`; all other Riemannian optimizers want
    dense gradients. The sparse ones leave the momentum of rows that a batch does not name untouched, as
    `torch.optim.SparseAdam` does.

    Rows begin near the origin, where every direction is open, at :math:`\exp_0(v)` with normal :math:`v` of standard
    deviation ``std``, the same points on both models. There is no ``max_norm``: steps end within the manifold's
    ``max_radius``. If the curvature is learnable, points are projected when they are looked up (on the Lorentz manifold
    their time follows from space), because a change of the curvature moves the manifold under the table.

    Source: Nickel and Kiela (2017), *Poincaré Embeddings for Learning Hierarchical Representations*; Nickel and Kiela
    (2018), *Learning Continuous Hierarchies in the Lorentz Model of Hyperbolic Geometry*.

    Use: to embed the nodes of a tree or a hierarchy in few dimensions, without features.

    Cost: ``num_embeddings * embedding_dim`` parameters; ``0`` multiply-adds; one number more per point on Lorentz.

    Args:
        num_embeddings: Number of points :math:`n`.
        embedding_dim: Intrinsic dimensions :math:`d` of a point.
        padding_idx: Row that begins at the origin and receives no gradient, counted from the end if negative.
        scale_grad_by_freq: Divide the gradient of a row by how often the batch looks it up; not with ``sparse``.
        sparse: Make the gradient of ``weight`` sparse.
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out. In its precision is the table.
        std: Standard deviation of the initial tangent coordinates, in units of geodesic length.
        generator: Source of the initial points, on the manifold's device; ``None`` for torch's global one.

    Attributes:
        weight: The points, shape ``(n, d + 1)`` on the Lorentz manifold, ``(n, d)`` on the ball.

    Shapes:
        - input: integers in ``[0, n)``, shape ``(*)``;
        - output: ``(*, d + 1)`` on the Lorentz manifold, ``(*, d)`` on the ball.

    Raises:
        ValueError: If a size, ``padding_idx`` or ``std`` is out of range, or ``scale_grad_by_freq`` meets ``sparse``.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> table = HyperbolicEmbedding(1180, 5, manifold=Lorentz(), sparse=True)
        >>> points = table(torch.tensor([[3, 8], [8, 8]]))
        >>> points.shape
        torch.Size([2, 2, 6])
        >>> table.manifold.dist(points[:, 0], points[:, 1]).sum().backward()
        >>> optimizer = geoopt.optim.SparseRiemannianAdam(table.parameters(), lr=0.01)
        >>> optimizer.step()
        >>> table
        HyperbolicEmbedding(
          1180, 5, sparse=True
          (manifold): Lorentz(c=1) manifold
        )
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        std: float = 1e-2,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_channels(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"`padding_idx` must be at least {-num_embeddings} and below {num_embeddings}, got {padding_idx}."
            )
        if scale_grad_by_freq and sparse:
            raise ValueError("`scale_grad_by_freq` must be False with `sparse`, for torch has no such gradient.")
        if not std > 0.0:
            raise ValueError(f"`std` must be positive, for points at one place stay together, got {std}.")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        self.std = std
        self.manifold: Lorentz | PoincareBall = as_hyperbolic(manifold)
        self.weight = manifold_parameter(self._draw(generator), self.manifold)

    def _draw(self, generator: torch.Generator | None) -> Tensor:
        columns = self.embedding_dim + isinstance(self.manifold, Lorentz)
        drawn = self.manifold.random_normal(self.num_embeddings, columns, std=self.std, generator=generator)
        points = drawn.as_subclass(Tensor)
        if self.padding_idx is not None:
            points[self.padding_idx] = self.manifold.origin(columns).as_subclass(Tensor)
        return points

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HyperbolicEmbedding:
        before = self.weight.dtype
        super()._apply(fn, recurse)
        if self.weight.dtype != before and not self.weight.is_meta:
            # In a wider type a point is on the manifold only as far as the narrow one could say.
            with torch.no_grad():
                self.weight.copy_(self.manifold.projx(self.weight))
        return self

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the points anew."""
        self.weight.copy_(self._draw(generator))

    @classmethod
    def from_pretrained(
        cls,
        points: Tensor,
        *,
        manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None,
        freeze: bool = True,
        padding_idx: int | None = None,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> HyperbolicEmbedding:
        """Make a table of given points, which are copied and projected.

        Args:
            points: Shape ``(n, d + 1)`` on the Lorentz manifold, ``(n, d)`` on the ball.
            manifold: Where they lie; a ball of curvature -1 if left out.
            freeze: Whether the table shall not be trained.
            padding_idx: Row that receives no gradient; the point there is kept.
            scale_grad_by_freq: As for the class.
            sparse: As for the class.

        Raises:
            ValueError: If ``points`` is no table of points of this manifold, or as for the class.
        """
        space = as_hyperbolic(manifold)
        least = 1 + isinstance(space, Lorentz)
        if points.dim() != 2 or points.size(0) < 1 or points.size(1) < least:
            raise ValueError(
                f"`points` must be a table with at least {least} columns, got shape {tuple(points.shape)}."
            )
        with torch.no_grad():
            values = space.projx(points.detach())
        # Points of float32 may be a thousand roundings off, for they come out of training.
        if not torch.allclose(values, points.detach().to(values.dtype), rtol=1e-4, atol=1e-4):
            far = (values - points.detach()).abs().max().item()
            raise ValueError(f"`points` must lie on the {space.name} within `max_radius`, got one {far:.2g} away.")
        table = cls(
            points.size(0),
            points.size(1) + 1 - least,
            padding_idx,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
            manifold=space,
        )
        table.weight = manifold_parameter(values.clone(), space, requires_grad=not freeze)
        return table

    def forward(self, input: Tensor) -> Tensor:
        """Look up the points with the indices ``input``, shape ``(*)``; returns shape ``(*, ambient)``."""
        points = F.embedding(
            input,
            self.weight,
            self.padding_idx,
            scale_grad_by_freq=self.scale_grad_by_freq,
            sparse=self.sparse,
        )
        return self.manifold.projx(points) if self.manifold.learnable else points

    def extra_repr(self) -> str:
        """Sizes and what differs from the defaults."""
        parts = [f"{self.num_embeddings}, {self.embedding_dim}"]
        if self.padding_idx is not None:
            parts.append(f"padding_idx={self.padding_idx}")
        if self.scale_grad_by_freq:
            parts.append("scale_grad_by_freq=True")
        if self.sparse:
            parts.append("sparse=True")
        return ", ".join(parts)
