"""The κ-stereographic model: sphere, Euclidean space and Poincaré ball as one manifold with a curvature of any sign."""

import math
from typing import Any

import geoopt
import torch
from geoopt.utils import size2shape
from torch import Tensor, nn

from hypersst.manifolds import poincare_math, stereographic_math
from hypersst.manifolds.curvature import as_number, shown
from hypersst.manifolds.stable import at_least_float32 as full
from hypersst.manifolds.stable import bounded, dot, norm

# As in `Curvature`: see there for the reason.
_CAP = {torch.float32: 7.0, torch.float64: 15.0}


class Stereographic(geoopt.Stereographic):
    r"""Space of constant curvature κ in stereographic coordinates, the metric being :math:`\lambda_x^2\,dx^2`.

    :math:`\lambda_x = 2/(1 + \kappa\lVert x\rVert^2)`: a sphere for κ > 0, Euclidean space with twice the usual
    lengths for κ = 0, the Poincaré ball with c = −κ for κ < 0. A learnable κ goes through zero as through any other
    number: every map is analytic there, in value and gradient (`stereographic_trig` says how).

    A drop-in :class:`geoopt.Stereographic`, same verbs, signatures and factor 2 (``expmap0(u)`` lies at distance 2‖u‖).
    It differs as `PoincareBall` does from geoopt's: formulas without cancellation, results within geodesic radius
    :math:`7/\sqrt{|\kappa|}` in float32 and 15 in float64 for κ < 0, float16 and bfloat16 computed in float32; and
    every verb here can be compiled, where geoopt branches on the sign of κ. ``gyration``, ``antipode``,
    ``dist2plane``, ``sproj``, ``inv_sproj`` and ``weighted_midpoint`` are geoopt's own.

    Args:
        k: Sectional curvature κ, any finite number. The one place where hypersst does not say c = −κ, because the
            family has no preferred sign.
        learnable: Train κ, without a constraint.

    Raises:
        ValueError: If ``k`` is not one finite number.

    Example:
        >>> x, y = torch.tensor([0.1, 0.0]), torch.tensor([0.0, 0.2])
        >>> [round(float(Stereographic(k).dist(x, y)), 4) for k in (-1.0, 0.0, 1.0)]
        [0.4548, 0.4472, 0.4399]
    """

    k: Tensor

    def __init__(self, k: float | Tensor = 0.0, *, learnable: bool = False) -> None:
        # geoopt's constructor makes a parameter of a fixed curvature too.
        super(geoopt.Stereographic, self).__init__()
        value, number = as_number(k)
        if number is None or not math.isfinite(number):
            raise ValueError(f"`k` must be one finite number, the sectional curvature, got {k}.")
        if learnable:
            self.k = nn.Parameter(value)
        else:
            self.register_buffer("k", value)

    @property
    def learnable(self) -> bool:
        """Whether the curvature is a parameter."""
        return "k" in self._parameters

    @property
    def kappa(self) -> Tensor:
        """Sectional curvature in at least float32, a tensor with no axes."""
        return full(self.k)

    def extra_repr(self) -> str:
        """Say the curvature."""
        return f"k={shown(self.k)}" + (", learnable=True" if self.learnable else "")

    # Points and tangent vectors

    def projx(self, x: Tensor, *, dim: int = -1) -> Tensor:
        """Shorten to the largest norm, if the curvature has one."""
        x = bounded(full(x), dim=dim)
        return stereographic_math.project(x, self.kappa, cap=_CAP[x.dtype], dim=dim)

    def proju(self, x: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Any vector is tangent; expand to the common shape."""
        return full(u).expand(torch.broadcast_shapes(x.shape, u.shape))

    def egrad2rgrad(self, x: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        r"""Riemannian gradient :math:`u/\lambda_x^2`."""
        return 0.25 * self._gap(x, dim).square() * full(u)

    def _gap(self, x: Tensor, dim: int, keepdim: bool = True) -> Tensor:
        r""":math:`2/\lambda_x`."""
        return poincare_math.conformal_gap(full(x), -self.kappa, dim=dim, keepdim=keepdim)

    def _check_point_on_manifold(
        self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5, dim: int = -1
    ) -> tuple[bool, str | None]:
        if torch.allclose(x, self.projx(x, dim=dim).to(x.dtype), atol=atol, rtol=rtol):
            return True, None
        return False, f"largest norm {float(norm(x, dim=dim).max()):.6g} is beyond the largest radius"

    # Metric

    def lambda_x(self, x: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
        r"""Conformal factor :math:`2/(1 + \kappa\lVert x\rVert^2)`."""
        return 2 / self._gap(x, dim, keepdim)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        r"""Riemannian product :math:`\lambda_x^2\,u\cdot v`; ``v=None`` means u."""
        u = full(u)
        return 4 / self._gap(x, dim, keepdim).square() * dot(u, u if v is None else full(v), dim=dim, keepdim=keepdim)

    def norm(self, x: Tensor, u: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        r"""Riemannian norm :math:`\lambda_x\lVert u\rVert`."""
        return 2 / self._gap(x, dim, keepdim) * norm(full(u), dim=dim, keepdim=keepdim)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Geodesic distance; its gradient where x = y is zero."""
        return stereographic_math.dist(full(x), full(y), self.kappa, dim=dim, keepdim=keepdim)

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Squared geodesic distance."""
        return self.dist(x, y, dim=dim, keepdim=keepdim).square()

    def dist0(self, x: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
        """Geodesic distance from the origin; its gradient there is zero."""
        return stereographic_math.dist0(full(x), self.kappa, dim=dim, keepdim=keepdim)

    # Exponential maps and logarithms

    def retr(self, x: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """First-order retraction x + u, as in geoopt, within the largest radius."""
        return self.projx(full(x) + full(u), dim=dim)

    def expmap(self, x: Tensor, u: Tensor, *, project: bool = True, dim: int = -1) -> Tensor:
        """End of the geodesic that leaves x with velocity u; on a sphere at most at the antipode of x."""
        x, u = full(x), full(u)
        cap = _CAP[x.dtype] if project else None
        return stereographic_math.expmap(x, bounded(u, dim=dim), self.kappa, cap=cap, dim=dim)

    def expmap0(self, u: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        """Exponential map at the origin; the result lies at distance 2‖u‖."""
        u = bounded(full(u), dim=dim)
        return stereographic_math.expmap0(u, self.kappa, cap=_CAP[u.dtype] if project else None, dim=dim)

    def logmap(self, x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
        """Tangent vector at x that points to y and is as long as their distance."""
        return stereographic_math.logmap(full(x), full(y), self.kappa, dim=dim)

    def logmap0(self, x: Tensor, *, dim: int = -1) -> Tensor:
        """Logarithm at the origin."""
        return stereographic_math.logmap0(full(x), self.kappa, dim=dim)

    def geodesic(self, t: Tensor, x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
        """Point at time t on the geodesic that is at x at time 0 and at y at time 1."""
        velocity = full(t) * self.logmap(x, y, dim=dim)
        return stereographic_math.expmap(full(x), velocity, self.kappa, dim=dim)

    def geodesic_unit(self, t: Tensor, x: Tensor, u: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        """Point at time t on the unit-speed geodesic that leaves x in the direction of u."""
        length = self.norm(x, u, keepdim=True, dim=dim).clamp_min(torch.finfo(full(u).dtype).tiny)
        return self.expmap(x, full(t) / length * full(u), dim=dim, project=project)

    # Parallel transport: algebra in κ, so the ball's formulas hold for either sign

    def transp(self, x: Tensor, y: Tensor, v: Tensor, *, dim: int = -1) -> Tensor:
        """Carry the tangent vector v along the geodesic from x to y."""
        return poincare_math.transp(full(x), full(y), full(v), -self.kappa, dim=dim)

    def transp0(self, y: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Carry a tangent vector at the origin to y."""
        return full(u) * self._gap(y, dim)

    def transp0back(self, y: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Carry a tangent vector at y to the origin."""
        return full(u) / self._gap(y, dim)

    # Gyrovector operations

    def mobius_add(self, x: Tensor, y: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        r"""κ-addition :math:`x \oplus_\kappa y`, which is x + y for κ = 0."""
        total = stereographic_math.mobius_add(full(x), full(y), self.kappa, dim=dim)
        return self.projx(total, dim=dim) if project else total

    def mobius_sub(self, x: Tensor, y: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        r"""κ-subtraction :math:`x \oplus_\kappa (-y)`."""
        return self.mobius_add(x, -y, dim=dim, project=project)

    def mobius_scalar_mul(self, r: Tensor | float, x: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        r"""κ-scaling :math:`r \otimes_\kappa x = \exp_0(r \log_0 x)`."""
        return self.expmap0(r * self.logmap0(x, dim=dim), dim=dim, project=project)

    def mobius_matvec(self, m: Tensor, x: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        r""":math:`\exp_0(M \log_0 x)` for a matrix ``(d_out, d)``."""
        v = (self.logmap0(x, dim=dim).movedim(dim, -1) @ m.transpose(-1, -2)).movedim(-1, dim)
        return self.expmap0(v, dim=dim, project=project)

    def midpoint(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Gyromidpoint ``(*, d)`` of points ``(*, n, d)`` with weights ``(*, n)``."""
        return stereographic_math.midpoint(full(x), weight, self.kappa)

    # Special points

    def origin(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = 42,
    ) -> geoopt.ManifoldTensor:
        """Zero, repeated to ``size``; ``seed`` is ignored, as in geoopt."""
        zero = torch.zeros(size2shape(*size), dtype=dtype or self.kappa.dtype, device=device or self.k.device)
        return geoopt.ManifoldTensor(zero, manifold=self)

    def random_normal(
        self,
        *size: int | tuple[int, ...],
        mean: float | Tensor = 0.0,
        std: float | Tensor = 1.0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> geoopt.ManifoldTensor:
        """Wrapped normal as `PoincareBall.random_normal` draws it: ``expmap0(v / 2)`` of normal coordinates v.

        Args:
            size: Shape of the points, ``(*, d)``.
            mean: Mean of the tangent coordinates, broadcastable to ``(*, d)``.
            std: Standard deviation of each tangent coordinate, in units of geodesic length.
            dtype: Defaults to that of the curvature.
            device: Defaults to that of the curvature.
            generator: Source of randomness; None for torch's global one.
        """
        k = self.kappa.detach()
        noise = torch.randn(size2shape(*size), dtype=dtype or k.dtype, device=device or k.device, generator=generator)
        tangent: Any = noise * std + mean
        with torch.no_grad():
            points = stereographic_math.expmap0(0.5 * tangent, k, cap=_CAP[tangent.dtype])
        return geoopt.ManifoldTensor(points, manifold=self)

    random = random_normal
