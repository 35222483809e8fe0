r"""Elementary functions that keep value and gradient where the textbook form divides zero by zero.

# Note [ratios at zero]

A ratio f such as :math:`\tfrac{\sinh r}{r}` multiplies a vector v whose norm r is taken of. Its argument is clamped at
the machine epsilon: there the ratio differs from its limit by O(eps²), and the slope that the clamp removes enters the
Jacobian of :math:`f(\lVert v\rVert)\,v` only times :math:`\lVert v\rVert \le` eps. So that Jacobian is right to
rounding everywhere, the origin included.
"""

import torch
from torch import Tensor

_HALF_PRECISION = (torch.float16, torch.bfloat16)


def at_least_float32(x: Tensor) -> Tensor:
    """Turn half precision into float32 and leave every other tensor as it is.

    Geometry runs in float32 under autocast: a bfloat16 time coordinate of 10 is known to 0.03 only.
    """
    return x.float() if x.dtype in _HALF_PRECISION else x


def dot(x: Tensor, y: Tensor, *, dim: int = -1, keepdim: bool = True) -> Tensor:
    """Euclidean inner product over one axis, which is kept by default.

    Not ``torch.linalg.vecdot``: autocast runs that one in half precision.
    """
    return (x * y).sum(dim=dim, keepdim=keepdim)


def norm(x: Tensor, *, dim: int = -1, keepdim: bool = True) -> Tensor:
    """Euclidean norm over one axis, which is kept by default; its gradient at zero is zero."""
    return torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim)


def bounded(x: Tensor, *, dim: int = -1) -> Tensor:
    """Clamp coordinates to where the sum of their squares cannot overflow: 1e19 / d in float32.

    Projections call this first. An overflowing norm would send a point at 1e20 to the origin instead of to the cap.
    """
    bound = torch.finfo(x.dtype).max ** 0.5 / max(x.size(dim), 1)
    return x.clamp(-bound, bound)


def sqrt0(x: Tensor) -> Tensor:
    """Square root of max(x, 0) whose gradient at zero is zero instead of infinite.

    Values below the smallest normal number count as zero.

    Example:
        >>> x = torch.tensor([0.0, 4.0], requires_grad=True)
        >>> sqrt0(x).sum().backward()
        >>> x.grad
        tensor([0.0000, 0.2500])
    """
    tiny = torch.finfo(x.dtype).tiny
    # tiny is an even power of two, so its root is exact: zero stays zero and nothing above 1e-11 moves.
    return x.clamp_min(tiny).sqrt() - tiny**0.5


def asinh(r: Tensor) -> Tensor:
    r"""Inverse hyperbolic sine of :math:`r \ge 0`, as accurate as torch's, which takes ten times as long on a CPU."""
    return torch.log1p(r + r * (r / (1 + (1 + r * r).sqrt())))


def log_ratio(z: Tensor) -> Tensor:
    r""":math:`t/\sinh t` for :math:`z = \sinh(t/2) \ge 0`, and 1 at zero.

    With :math:`t = \sqrt{c}\,d` it scales a chord to the logarithm, in both models:
    :math:`t/\sinh t = \operatorname{asinh}(z) / (z \sqrt{1 + z^2})`.
    """
    z = _off_zero(z)
    return asinh(z) / (z * (1 + z * z).sqrt())


def _off_zero(r: Tensor) -> Tensor:
    """Clamp at the machine epsilon, see Note [ratios at zero]."""
    return r.clamp_min(torch.finfo(r.dtype).eps)
