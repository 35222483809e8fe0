"""The hyperboloid as a geoopt manifold that is right in float32."""

from typing import Any

import geoopt
import torch
from geoopt.manifolds.base import ScalingInfo
from geoopt.utils import size2shape
from torch import Tensor

from hypersst.manifolds import lorentz_math
from hypersst.manifolds.curvature import Curvature
from hypersst.manifolds.stable import at_least_float32 as full
from hypersst.manifolds.stable import bounded, sqrt0


class Lorentz(Curvature, geoopt.Lorentz):
    r"""Hyperbolic space as the sheet :math:`\langle x, x\rangle = -x_0^2 + \lVert x_s\rVert^2 = -1/c`, :math:`x_0 > 0`.

    A drop-in :class:`geoopt.Lorentz`: same verbs and signatures, same role in ``geoopt.ManifoldParameter`` and geoopt's
    optimizers. It differs where geoopt's formulas fail in float32 (``docs/numerics.md`` has the numbers):

    * distances, logarithms and norms are read off space parts and differences, never off :math:`x_0 - 1/\sqrt c`;
    * every map onto the manifold recomputes time from space, every tangent vector gets the time that makes it tangent;
    * maps onto the manifold stay within ``max_radius``; :meth:`from_space`, :meth:`normalize` and everything called
      with ``project=False`` do not ask;
    * ``inner(x, u, v)`` is the metric at x of *tangent* vectors, never negative for u = v; pass ``x=None`` for the
      Minkowski product of arbitrary ambient vectors;
    * ``expmap`` reads only the space part of the tangent vector, so ``norm_tan`` makes no difference;
    * ``dist``, ``sqdist``, ``logmap`` and ``transp`` can be differentiated once, a second derivative is refused;
    * float16 and bfloat16 inputs are computed, and returned, in float32.

    Points have ``d + 1`` coordinates, time first. geoopt's ``k`` is 1/c.

    Args:
        c: Positive curvature parameter; the sectional curvature is −c.
        learnable: Train c, as :math:`e^{\texttt{log\_c}}`.
        max_radius: Largest geodesic distance from the origin; None means :math:`7/\sqrt c` in float32 and
            :math:`15/\sqrt c` in float64, beyond which rounding eats the digits.

    Raises:
        ValueError: If ``c`` or ``max_radius`` is not a positive finite number.

    Example:
        >>> manifold = Lorentz(c=0.5)
        >>> x, y = manifold.expmap0_space(torch.tensor([[1e-4, 0.0], [0.0, 2.0]]))
        >>> manifold.dist0(x)
        tensor(1.0000e-04)
        >>> torch.allclose(manifold.norm(manifold.logmap(x, y)), manifold.dist(x, y))
        True
    """

    # How geoopt.Scaled rescales the verbs that geoopt does not have.
    __scaling__ = geoopt.Lorentz.__scaling__.copy()
    __scaling__.update(
        expmap0_space=ScalingInfo(v=-1),
        logmap0_space=ScalingInfo(1),
        sqdist=ScalingInfo.NotCompatible,
    )

    def __init__(self, c: float | Tensor = 1.0, *, learnable: bool = False, max_radius: float | None = None) -> None:
        # geoopt's own constructor would register k, which is a property here.
        super(geoopt.Lorentz, self).__init__()
        self._init_curvature(c, learnable, max_radius)

    @property
    def k(self) -> Tensor:
        """What geoopt calls k, 1/c."""
        return 1 / self.c

    # Points and tangent vectors

    def from_space(self, space: Tensor, *, dim: int = -1) -> Tensor:
        """Point ``(*, d + 1)`` with the given space part ``(*, d)``; the radius is not capped."""
        return lorentz_math.from_space(full(space), self.c, dim=dim)

    def projx(self, x: Tensor, *, dim: int = -1) -> Tensor:
        """Keep the space part, at most ``max_radius`` far, and recompute time."""
        x = full(x)
        return lorentz_math.from_space(x, self.c, cap=self._cap(x.dtype), dim=dim, ambient=True)

    def proju(self, x: Tensor, v: Tensor, *, dim: int = -1) -> Tensor:
        """Orthogonal projection of an ambient vector onto the tangent space at x."""
        return lorentz_math.proju(full(x), full(v), self.c, dim=dim)

    def egrad2rgrad(self, x: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Riemannian gradient from the Euclidean one, which, unlike in geoopt, is left as it is."""
        return lorentz_math.egrad2rgrad(full(x), full(u), self.c, dim=dim)

    def _check_point_on_manifold(
        self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5, dim: int = -1
    ) -> tuple[bool, str | None]:
        time = lorentz_math.time_part(x, dim=dim)
        space = lorentz_math.space_part(x, dim=dim)
        # Compared as times: their squares are known to eps·x₀² only.
        expected = lorentz_math.time_part(lorentz_math.from_space(space, self.c.to(x), dim=dim), dim=dim)
        if torch.allclose(time, expected, atol=atol, rtol=rtol):
            return True, None
        return False, f"time differs from sqrt(1/c + |space|²) by up to {float((time - expected).abs().max()):.3g}"

    def _check_vector_on_tangent(
        self, x: Tensor, u: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5, dim: int = -1
    ) -> tuple[bool, str | None]:
        time = lorentz_math.time_part(u, dim=dim)
        tangent = lorentz_math.tangent_from_space(x, lorentz_math.space_part(u, dim=dim), dim=dim)
        expected = lorentz_math.time_part(tangent, dim=dim)
        if torch.allclose(time, expected, atol=atol, rtol=rtol):
            return True, None
        return False, f"time differs from x_s·u_s/x_0 by up to {float((time - expected).abs().max()):.3g}"

    # Metric

    def inner(
        self, x: Tensor | None, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False, dim: int = -1
    ) -> Tensor:
        """Riemannian product at x of tangent vectors; with ``x=None`` the Minkowski product of any two vectors."""
        u = full(u)
        v = v if v is None else full(v)
        if x is None:
            return lorentz_math.inner(u, u if v is None else v, dim=dim, keepdim=keepdim)
        return lorentz_math.tangent_inner(full(x), u, v, self.c, dim=dim, keepdim=keepdim)

    def inner0(self, v: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        r"""Minkowski product with the origin, :math:`-v_0/\sqrt c`."""
        product = -lorentz_math.time_part(full(v), dim=dim) / self.c.sqrt()
        return product if keepdim else product.squeeze(dim)

    def norm(self, u: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Minkowski norm of a tangent vector; ``inner(x, u) ** 0.5`` keeps more digits far from the origin."""
        u = full(u)
        return sqrt0(lorentz_math.inner(u, u, dim=dim, keepdim=keepdim))

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Geodesic distance; its gradient where x = y is zero."""
        return lorentz_math.dist(full(x), full(y), self.c, dim=dim, keepdim=keepdim)

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        """Squared geodesic distance."""
        return lorentz_math.dist(full(x), full(y), self.c, dim=dim, keepdim=keepdim).square()

    def dist0(self, x: Tensor, *, dim: int = -1, keepdim: bool = False) -> Tensor:
        """Geodesic distance from the origin; its gradient at the origin is zero."""
        return lorentz_math.dist0(full(x), self.c, dim=dim, keepdim=keepdim)

    def sqdist(self, x: Tensor, y: Tensor, *, keepdim: bool = False, dim: int = -1) -> Tensor:
        r"""Squared Lorentzian distance :math:`-2/c - 2\langle x, y\rangle`, which is not :meth:`dist2`."""
        return lorentz_math.sqdist(full(x), full(y), self.c, dim=dim, keepdim=keepdim)

    # Exponential maps and logarithms

    def expmap(self, x: Tensor, u: Tensor, *, norm_tan: bool = True, project: bool = True, dim: int = -1) -> Tensor:
        """End of the geodesic that leaves x with velocity u, of which only the space part is read."""
        x, u = full(x), full(u)
        cap = self._cap(x.dtype) if project else None
        return lorentz_math.expmap(x, bounded(u, dim=dim) if project else u, self.c, cap=cap, dim=dim)

    retr = expmap

    def expmap0(self, u: Tensor, *, project: bool = True, dim: int = -1) -> Tensor:
        """Exponential map at the origin of an ambient tangent vector ``(*, d + 1)``, whose time is zero."""
        u = full(u)
        cap = self._cap(u.dtype) if project else None
        return lorentz_math.expmap0(u, self.c, cap=cap, ambient=True, dim=dim)

    def expmap0_space(self, v: Tensor, *, project: bool = True, dim: int = -1) -> Tensor:
        """Exponential map at the origin of a tangent vector in its d intrinsic coordinates."""
        v = full(v)
        cap = self._cap(v.dtype) if project else None
        return lorentz_math.expmap0(v, self.c, cap=cap, dim=dim)

    def logmap(self, x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
        """Tangent vector at x that points to y and is as long as their distance."""
        return lorentz_math.logmap(full(x), full(y), self.c, dim=dim)

    def logmap0(self, y: Tensor, *, dim: int = -1) -> Tensor:
        """Logarithm at the origin as an ambient vector ``(*, d + 1)`` with zero time."""
        return lorentz_math.logmap0(full(y), self.c, ambient=True, dim=dim)

    def logmap0_space(self, x: Tensor, *, dim: int = -1) -> Tensor:
        """Logarithm at the origin in its d intrinsic coordinates."""
        return lorentz_math.logmap0(full(x), self.c, dim=dim)

    def logmap0back(self, x: Tensor, *, dim: int = -1) -> Tensor:
        r"""Logarithm at x of the origin, with the space part :math:`-\sqrt c\,x_0 \log_0(x)`."""
        x = full(x)
        velocity = -lorentz_math.logmap0(x, self.c, dim=dim)
        space = velocity * (self.c.sqrt() * lorentz_math.time_part(x, dim=dim))
        return lorentz_math.tangent_from_space(x, space, dim=dim)

    def geodesic_unit(self, t: Tensor, x: Tensor, u: Tensor, *, dim: int = -1, project: bool = True) -> Tensor:
        """Point at time t on the geodesic that leaves x with the unit velocity u."""
        x = full(x)
        cap = self._cap(x.dtype) if project else None
        return lorentz_math.expmap(x, full(t) * full(u), self.c, cap=cap, dim=dim)

    # Parallel transport

    def transp(self, x: Tensor, y: Tensor, v: Tensor, *, dim: int = -1) -> Tensor:
        """Carry the tangent vector v along the geodesic from x to y."""
        return lorentz_math.transp(full(x), full(y), full(v), self.c, dim=dim)

    def transp0(self, y: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Carry an ambient tangent vector at the origin, whose time is zero, to y."""
        return lorentz_math.transp0(full(y), lorentz_math.space_part(full(u), dim=dim), self.c, dim=dim)

    def transp0back(self, x: Tensor, u: Tensor, *, dim: int = -1) -> Tensor:
        """Carry a tangent vector at x to the origin; the result ``(*, d + 1)`` has zero time."""
        space = lorentz_math.to_rest_frame(full(x), full(u), self.c, dim=dim)
        return torch.cat((torch.zeros_like(space.narrow(dim, 0, 1)), space), dim=dim)

    # Means

    def normalize(self, s: Tensor, *, dtype: torch.dtype | None = None, dim: int = -1) -> Tensor:
        """Scale a time-like vector, such as a sum of points, onto the hyperboloid; the radius is not capped.

        The result has type ``dtype`` if given.
        """
        return lorentz_math.normalize(full(s), self.c, dtype=dtype, dim=dim)

    def centroid(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Lorentzian centroid ``(*, d + 1)`` of points ``(*, n, d + 1)`` with weights ``(*, n)``."""
        return lorentz_math.centroid(full(x), weight, self.c)

    midpoint = centroid

    # Special points

    def origin(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = 42,
    ) -> geoopt.ManifoldTensor:
        """Point with zero space part, repeated to ``size``; ``seed`` is ignored, as in geoopt."""
        c = self.c.detach()
        point = torch.zeros(size2shape(*size), dtype=dtype or c.dtype, device=device or c.device)
        point[..., 0] = c.rsqrt()
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
        """Wrapped normal: the exponential map at the origin of normal intrinsic coordinates.

        Distances from the origin are those of ``std``-normal vectors of d coordinates, up to ``max_radius``; geoopt's
        ``Lorentz.random_normal`` ignores ``std``.

        Source: Y. Nagano et al., *A wrapped normal distribution on hyperbolic space*, 2019.

        Args:
            size: Shape of the points, ``(*, d + 1)``.
            mean: Mean of the tangent coordinates, broadcastable to ``(*, d)``.
            std: Standard deviation of each tangent coordinate.
            dtype: Defaults to that of the curvature.
            device: Defaults to that of the curvature.
            generator: Source of randomness; None for torch's global one.
        """
        *batch, coordinates = size2shape(*size) or (0,)
        if coordinates < 2:
            raise ValueError(f"`size` must end in d + 1 coordinates with d at least 1, got {size}.")
        c = self.c.detach()
        shape = (*batch, coordinates - 1)
        noise = torch.randn(shape, dtype=dtype or c.dtype, device=device or c.device, generator=generator)
        tangent: Any = noise * std + mean
        with torch.no_grad():
            points = lorentz_math.expmap0(tangent, c, cap=self._cap(tangent.dtype))
        return geoopt.ManifoldTensor(points, manifold=self)

    random = random_normal
