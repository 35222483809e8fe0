"""The Poincaré ball as a geoopt manifold that is right in float32."""

from collections.abc import Callable
from typing import Any

import geoopt
import torch
from geoopt.utils import size2shape
from torch import Tensor

from hypersst.manifolds import poincare_math
from hypersst.manifolds.curvature import Curvature
from hypersst.manifolds.stable import at_least_float32 as full
from hypersst.manifolds.stable import bounded, dot, norm


class PoincareBall(Curvature, geoopt.PoincareBall):
    r"""Hyperbolic space as the ball :math:`\sqrt c\,\lVert x\rVert < 1`.

    The metric is :math:`\lambda_x^2\,dx^2` with :math:`\lambda_x = 2/(1 - c\lVert x\rVert^2)`.

    A drop-in :class:`geoopt.PoincareBall`: same verbs and signatures, same role in ``geoopt.ManifoldParameter`` and
    geoopt's optimizers, same factor 2 (``expmap0(u)`` lies at distance 2‖u‖). It differs where geoopt's formulas fail
    in float32 (``docs/numerics.md`` has the numbers):

    * Möbius addition, logarithm, distance and transport use forms without cancellation at the border and at x = y;
    * results stay within the geodesic radius ``max_radius``, where geoopt clips at :math:`6.2/\sqrt c` in float32 and
      :math:`12.2/\sqrt c` in float64;
    * float16 and bfloat16 inputs are computed, and returned, in float32.

    Points have d coordinates. geoopt's ``c`` is ours, its ``k`` is −c. ``gyration``, ``antipode``, ``sproj`` and
    ``inv_sproj`` are geoopt's own.

    Args:
        c: Positive curvature parameter; the sectional curvature is −c.
        learnable: Train c, as :math:`e^{\texttt{log\_c}}`.
        max_radius: Largest geodesic distance R from the origin, hence the norm :math:`\tanh(\sqrt c R/2)/\sqrt c`;
            None means :math:`7/\sqrt c` in float32 and :math:`15/\sqrt c` in float64.

    Raises:
        ValueError: If ``c`` or ``max_radius`` is not a positive finite number.

    Example:
        >>> ball = PoincareBall(c=0.5)
        >>> x = ball.expmap0(torch.tensor([1e-6, 0.0]))
        >>> ball.logmap0(x)
        tensor([1.0000e-06, 0.0000e+00])
        >>> ball.dist0(x)
        tensor(2.0000e-06)
    """

    def __init__(self, c: float | Tensor = 1.0, *, learnable: bool = False, max_radius: float | None = None) -> None:
        # geoopt's own constructors would register k and isp_c; c has a different home here.
        super(geoopt.Stereographic, self).__init__()
        self._init_curvature(c, learnable, max_radius)

    # Points and tangent vectors

    def projx(self, x: Tensor, *, dim: int = -1) -> Tensor:
        """Shorten to the norm that ``max_radius`` allows."""
        return self._capped(bounded(full(x), dim=dim), True, dim)

    def _capped(self, x: Tensor, project: bool, dim: int) -> Tensor:
        return poincare_math.project(x, self.c, cap=self._cap(x.dtype), dim=dim) if project else x

    def _cap_if(self, project: bool, dtype: torch.dtype) -> float | Tensor | None:
        return self._cap(dtype) if project else None

    def proju(self, x: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Any vector is tangent; expand to the common shape."""
        return full(u).expand(torch.broadcast_shapes(x.shape, u.shape))

    def egrad2rgrad(self, x: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        r"""Riemannian gradient :math:`u/\lambda_x^2`."""
        return 0.25 * poincare_math.conformal_gap(full(x), self.c, dim=dim).square() * full(u)

    def _check_point_on_manifold(
        self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5, dim: int = -1
    ) -> tuple[bool, str | None]:
        if torch.allclose(x, self.projx(x, dim=dim).to(x.dtype), atol=atol, rtol=rtol):
            return True, None
        return False, f"largest norm {float(norm(x, dim=dim).max()):.6g} is beyond what `max_radius` allows"

    # Metric

    def lambda_x(self, x: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
        r"""Conformal factor :math:`2/(1 - c\lVert x\rVert^2)`."""
        return 2 / poincare_math.conformal_gap(full(x), self.c, dim=dim, keepdim=keepdim)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        r"""Riemannian product :math:`\lambda_x^2\,u\cdot v`; ``v=None`` means u."""
        u, gap = full(u), poincare_math.conformal_gap(full(x), self.c, dim=dim, keepdim=keepdim)
        return 4 / gap.square() * dot(u, u if v is None else full(v), dim=dim, keepdim=keepdim)

    def norm(self, x: Tensor, u: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        r"""Riemannian norm :math:`\lambda_x\lVert u\rVert`."""
        gap = poincare_math.conformal_gap(full(x), self.c, dim=dim, keepdim=keepdim)
        return 2 / gap * norm(full(u), dim=dim, keepdim=keepdim)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Geodesic distance; its gradient where x = y is zero."""
        return poincare_math.dist(full(x), full(y), self.c, dim=dim, keepdim=keepdim)

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Squared geodesic distance."""
        return poincare_math.dist(full(x), full(y), self.c, dim=dim, keepdim=keepdim).square()

    def dist0(self, x: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
        """Geodesic distance from the origin; its gradient at the origin is zero."""
        return poincare_math.dist0(full(x), self.c, dim=dim, keepdim=keepdim)

    def dist2plane(
        self,
        x: Tensor,
        p: Tensor,
        a: Tensor,
        *,
        dim: int = -1,
        keepdim: bool = False,
        signed: bool = False,
        scaled: bool = False,
    ) -> Tensor:
        """Distance from x to the hyperplane through p with normal a, times the length of a if ``scaled``."""
        x, p, a = full(x), full(p), full(a)
        distance = poincare_math.dist2plane(x, p, a, self.c, dim=dim, keepdim=keepdim, signed=signed)
        return distance * norm(a, dim=dim, keepdim=keepdim) if scaled else distance

    # Exponential maps and logarithms

    def retr(self, x: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """First-order retraction x + u, as in geoopt, within ``max_radius``."""
        return self._capped(bounded(full(x) + full(u), dim=dim), True, dim)

    def expmap(self, x: Tensor, u: Tensor, *, project: bool = True, dim: int = -1) -> Tensor:
        """End of the geodesic that leaves x with velocity u."""
        x = full(x)
        return poincare_math.expmap(x, full(u), self.c, cap=self._cap_if(project, x.dtype), dim=dim)

    def expmap0(self, u: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        """Exponential map at the origin; the result lies at distance 2‖u‖."""
        u = full(u)
        return poincare_math.expmap0(u, self.c, cap=self._cap_if(project, u.dtype), dim=dim)

    def logmap(self, x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
        """Tangent vector at x that points to y and is as long as their distance."""
        return poincare_math.logmap(full(x), full(y), self.c, dim=dim)

    def logmap0(self, x: Tensor, *, dim: int = -1) -> Tensor:
        """Logarithm at the origin."""
        return poincare_math.logmap0(full(x), self.c, dim=dim)

    def geodesic(self, t: Tensor, x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
        """Point at time t on the geodesic that is at x at time 0 and at y at time 1."""
        x = full(x)
        velocity = poincare_math.logmap(x, full(y), self.c, dim=dim)
        return poincare_math.expmap(x, full(t) * velocity, self.c, dim=dim)

    def geodesic_unit(self, t: Tensor, x: Tensor, u: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        """Point at time t on the unit-speed geodesic that leaves x in the direction of u."""
        x, u = full(x), full(u)
        gap = poincare_math.conformal_gap(x, self.c, dim=dim)
        unit = 0.5 * gap / norm(u, dim=dim).clamp_min(torch.finfo(u.dtype).tiny) * u
        cap = self._cap_if(project, x.dtype)
        return poincare_math.expmap(x, full(t) * unit, self.c, cap=cap, dim=dim)

    # Parallel transport

    def transp(self, x: Tensor, y: Tensor, v: Tensor, *, dim: int = -1) -> Tensor:
        """Carry the tangent vector v along the geodesic from x to y."""
        return poincare_math.transp(full(x), full(y), full(v), self.c, dim=dim)

    def transp0(self, y: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Carry a tangent vector at the origin to y."""
        return full(u) * poincare_math.conformal_gap(full(y), self.c, dim=dim)

    def transp0back(self, y: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Carry a tangent vector at y to the origin."""
        return full(u) / poincare_math.conformal_gap(full(y), self.c, dim=dim)

    # Möbius operations

    def mobius_add(self, x: Tensor, y: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        """Möbius addition x ⊕ y."""
        return self._capped(poincare_math.mobius_add(full(x), full(y), self.c, dim=dim), project, dim)

    def mobius_sub(self, x: Tensor, y: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        """Möbius subtraction x ⊕ (−y)."""
        return self._capped(poincare_math.mobius_add(full(x), -full(y), self.c, dim=dim), project, dim)

    def mobius_coadd(self, x: Tensor, y: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        """Möbius coaddition, which commutes."""
        return self._capped(poincare_math.mobius_coadd(full(x), full(y), self.c, dim=dim), project, dim)

    def mobius_cosub(self, x: Tensor, y: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        """Möbius coaddition of −y."""
        return self._capped(poincare_math.mobius_coadd(full(x), -full(y), self.c, dim=dim), project, dim)

    def mobius_scalar_mul(self, r: Tensor | float, x: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        r"""Möbius scaling :math:`r \otimes x = \exp_0(r \log_0 x)`."""
        return self._through_origin(lambda v: r * v, x, dim, project)

    def mobius_pointwise_mul(self, w: Tensor, x: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        r""":math:`\exp_0(w \circ \log_0 x)`."""
        return self._through_origin(lambda v: w * v, x, dim, project)

    def mobius_matvec(self, m: Tensor, x: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        r""":math:`\exp_0(M \log_0 x)` for a matrix ``(d_out, d)``, or a batch of them with ``dim=-1``."""
        if m.dim() > 2 and dim != -1:
            raise ValueError(f"`dim` must be -1 for a batch of matrices of shape {tuple(m.shape)}, got {dim}.")
        if m.dim() > 2:
            return self._through_origin(lambda v: (m @ v.unsqueeze(-1)).squeeze(-1), x, dim, project)
        return self._through_origin(
            lambda v: (v.movedim(dim, -1) @ m.transpose(-1, -2)).movedim(-1, dim), x, dim, project
        )

    def mobius_fn_apply(
        self, fn: Callable[..., Tensor], x: Tensor, *args: Any, dim: int = -1, project: bool = True, **kwargs: Any
    ) -> Tensor:
        r""":math:`\exp_0(f(\log_0 x))`."""
        return self._through_origin(lambda v: fn(v, *args, **kwargs), x, dim, project)

    def mobius_fn_apply_chain(
        self, x: Tensor, *fns: Callable[[Tensor], Tensor], project: bool = True, dim: int = -1
    ) -> Tensor:
        r""":math:`\exp_0(f_n(\dots f_1(\log_0 x)))`."""

        def chain(v: Tensor) -> Tensor:
            for fn in fns:
                v = fn(v)
            return v

        return self._through_origin(chain, x, dim, project)

    def _through_origin(self, fn: Callable[[Tensor], Tensor], x: Tensor, dim: int, project: bool) -> Tensor:
        """Apply a function in the tangent space at the origin."""
        v = full(fn(poincare_math.logmap0(full(x), self.c, dim=dim)))
        return poincare_math.expmap0(v, self.c, cap=self._cap_if(project, v.dtype), dim=dim)

    # Means

    def midpoint(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Gyromidpoint ``(*, d)`` of points ``(*, n, d)`` with weights ``(*, n)``: the Lorentz centroid in the ball."""
        return poincare_math.midpoint(full(x), weight, self.c)

    def weighted_midpoint(
        self,
        xs: Tensor,
        weights: Tensor | None = None,
        *,
        reducedim: list[int] | None = None,
        dim: int = -1,
        keepdim: bool = False,
        lincomb: bool = False,
        posweight: bool = False,
        project: bool = True,
    ) -> Tensor:
        """Gyromidpoint with geoopt's arguments; ``reducedim`` defaults to every axis but ``dim``."""
        mean = poincare_math.weighted_midpoint(
            full(xs), weights, self.c, reducedim=reducedim, dim=dim, lincomb=lincomb, posweight=posweight
        )
        mean = self._capped(mean, project, dim)
        if keepdim:
            return mean
        axes = poincare_math.reduced_axes(xs.dim(), reducedim, dim)
        return mean.squeeze(axes)

    # Special points

    def origin(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = 42,
    ) -> geoopt.ManifoldTensor:
        """Zero, repeated to ``size``; ``seed`` is ignored, as in geoopt."""
        c = self.c
        point = torch.zeros(size2shape(*size), dtype=dtype or c.dtype, device=device or c.device)
        return geoopt.ManifoldTensor(point, manifold=self)

    def random_normal(
        self,
        *size: int | tuple[int, ...],
        mean: float | Tensor = 0.0,
        std: float | Tensor = 1.0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> geoopt.ManifoldTensor:
        """Wrapped normal, the image of :meth:`Lorentz.random_normal` under the isometry.

        ``std`` is in units of geodesic length: a tangent coordinate v becomes ``expmap0(v / 2)``. geoopt divides by the
        square root of d instead of 2.

        Args:
            size: Shape of the points, ``(*, d)``.
            mean: Mean of the tangent coordinates, broadcastable to ``(*, d)``.
            std: Standard deviation of each tangent coordinate.
            dtype: Defaults to that of the curvature.
            device: Defaults to that of the curvature.
            generator: Source of randomness; None for torch's global one.
        """
        shape = size2shape(*size)
        if not shape or shape[-1] < 1:
            raise ValueError(f"`size` must end in d coordinates with d at least 1, got {size}.")
        c = self.c.detach()
        noise = torch.randn(shape, dtype=dtype or c.dtype, device=device or c.device, generator=generator)
        tangent: Any = noise * std + mean
        with torch.no_grad():
            points = poincare_math.expmap0(0.5 * tangent, c, cap=self._cap(tangent.dtype))
        return geoopt.ManifoldTensor(points, manifold=self)

    random = random_normal
