"""Cones in which what a point entails shall lie."""

from __future__ import annotations

import geoopt
import torch
from torch import Tensor, nn

from hypersst.manifolds import Lorentz
from hypersst.manifolds.lorentz_math import to_rest_frame
from hypersst.manifolds.stable import at_least_float32, dot, norm, sqrt0
from hypersst.nn.chart import to_chart
from hypersst.nn.manifold_argument import as_hyperbolic

__all__ = ["EntailmentCone", "entailment_loss"]


class EntailmentCone(nn.Module):
    r"""Energy of a point y outside the entailment cone of x, zero inside.

    .. math::
        E(x, y) = \max(0,\; \Xi(x, y) - \psi(x)), \qquad \psi(x) = \arcsin\frac{2K}{\sinh(\sqrt c\,d(0, x))}

    The cone at x opens away from the origin, with half aperture :math:`\psi`; :math:`\Xi` is the exterior angle at x,
    between the ray from the origin through x and the geodesic from x to y. Both are the same on the two models. In
    Poincaré coordinates with c = 1 the sine of :math:`\psi` is :math:`K(1 - \lVert x\rVert^2)/\lVert x\rVert`, in
    Lorentz coordinates it is :math:`2K/(\sqrt c\,\lVert x_s\rVert)`, with one K, called ``min_radius`` as in Desai et
    al.: within :math:`\sinh(\sqrt c\,d) \le 2K` (in the ball about :math:`\sqrt c\,\lVert x\rVert \le K`) there is no
    such cone, and the half aperture stays at its largest value, π/2. The K of Ganea et al. is
    :math:`\varepsilon/(1 - \varepsilon^2)` with their smallest norm :math:`\varepsilon`.

    The angle is taken between the ray and the logarithm of y at x, in the rest frame of x, by atan2, so it is accurate
    also near 0 and π, where the formulas of the papers take the arc cosine of numbers near one. For y = x it is 0, for
    x at the origin, which entails everything, π/2.

    Sources: Ganea, Bécigneul and Hofmann (2018), *Hyperbolic Entailment Cones for Learning Hierarchical Embeddings*;
    Le et al. (2019), *Inferring Concept Hierarchies from Text Corpora via Hyperbolic Embeddings*; Desai et al. (2023),
    *Hyperbolic Image-Text Representations*.

    Use: to embed a hierarchy in which the specific lies in the cone of the general, with `entailment_loss`.

    Cost: ``0`` parameters; ``0`` multiply-adds; a few elementwise passes over the coordinates of each pair.

    Args:
        manifold: A ball or a Lorentz manifold; a ball of curvature -1 if left out.
        min_radius: The positive number K.

    Shapes:
        - input: two lists of points, ``(*, ambient)`` each;
        - output: energies ``(*)``, at most π.

    Raises:
        ValueError: If ``min_radius`` is not positive.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> cone = EntailmentCone(manifold=Lorentz())
        >>> x, beyond, before = cone.manifold.expmap0_space(torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.5, 0.0]]))
        >>> cone(x, beyond)
        tensor(0.)
        >>> cone(x, before) + cone.half_aperture(x)
        tensor(3.1416)
    """

    def __init__(
        self, *, manifold: geoopt.Lorentz | geoopt.PoincareBall | None = None, min_radius: float = 0.1
    ) -> None:
        super().__init__()
        if not min_radius > 0.0:
            raise ValueError(f"`min_radius` must be positive, got {min_radius}.")
        self.manifold = as_hyperbolic(manifold)
        self.min_radius = min_radius

    def half_aperture(self, x: Tensor) -> Tensor:
        r"""The angle :math:`\psi(x)` at points ``(*, ambient)``, shape ``(*)``, in (0, π/2]."""
        length = self.manifold.c.sqrt() * norm(to_chart(x, self.manifold, "space"), keepdim=False)
        sine = 2.0 * self.min_radius
        # The arc sine of sine/length, in a form whose slope stays finite where that reaches one.
        return torch.atan2(torch.full_like(length, sine), sqrt0((length - sine) * (length + sine)))

    def angle(self, x: Tensor, y: Tensor) -> Tensor:
        r"""The exterior angle :math:`\Xi(x, y)` at x, points ``(*, ambient)`` each, shape ``(*)``, in [0, π]."""
        manifold = self.manifold
        if isinstance(manifold, Lorentz):
            ray = to_chart(x, manifold, "space")
            # Time follows from space and curvature, or the gradient of a learnable curvature would be of two minds.
            x, y = manifold.from_space(ray), manifold.from_space(to_chart(y, manifold, "space"))
            way = to_rest_frame(x, manifold.logmap(x, y), manifold.c)
        else:
            ray, way = at_least_float32(x), manifold.logmap(x, y)
        tiny = torch.finfo(way.dtype).tiny
        square = dot(ray, ray)
        ray = torch.where(square < tiny, 0.0, ray * square.clamp_min(tiny).rsqrt())
        along = dot(ray, way)
        across = norm(way - along * ray)
        # Where y = x the way has no direction, and atan2(0, 0) no derivative.
        along = torch.where(dot(way, way) < tiny, 1.0, along)
        return torch.atan2(across, along).squeeze(-1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """How far points ``y`` are outside the cones of points ``x``, as an angle."""
        return (self.angle(x, y) - self.half_aperture(x)).relu()

    def extra_repr(self) -> str:
        """The constant K."""
        return f"min_radius={self.min_radius:g}"


def entailment_loss(
    cone: EntailmentCone,
    x: Tensor,
    y: Tensor,
    negatives: Tensor | tuple[Tensor, Tensor],
    margin: float = 0.01,
) -> Tensor:
    r"""Ask that y lie in the cone of x, and no negative within a margin of it.

    .. math:: \sum_{(x, y)} E(x, y) + \sum_{(x', y')} \max(0,\; m - E(x', y'))

    Source: Ganea, Bécigneul and Hofmann (2018), *Hyperbolic Entailment Cones for Learning Hierarchical Embeddings*.

    Args:
        cone: The energy :math:`E`.
        x: Points, shape ``(*, ambient)``.
        y: What they entail, the same shape.
        negatives: What they do not entail, shape ``(*, k, ambient)``; or pairs that are no entailment, as two tensors
            of one shape.
        margin: The number :math:`m`, an angle.

    Returns:
        The sum, a scalar.

    Example:
        >>> from hypersst.manifolds import Lorentz
        >>> cone = EntailmentCone(manifold=Lorentz())
        >>> x, y, z = cone.manifold.expmap0_space(torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]))
        >>> entailment_loss(cone, x, y, (x, z))
        tensor(0.)
    """
    pair = (x.unsqueeze(-2), negatives) if isinstance(negatives, Tensor) else negatives
    return cone(x, y).sum() + (margin - cone(*pair)).relu().sum()
