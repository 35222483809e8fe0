"""The positive curvature parameter that both models of hyperbolic space share."""

import math

import torch
from torch import Tensor, nn

from hypersst.manifolds.stable import at_least_float32

# A learnable c stays within exp(±18) = 1.5e-8 … 6.6e7, where 1/c² and c² are still finite in float32. At the border
# its gradient vanishes; without a border one wild step would make exp(log c) zero or infinite for good.
_LOG_C_LIMIT = 18.0

# Geodesic radius times sqrt(c). The terms of ⟨x, x⟩ = −1/c are cosh² radius times its value: with the unit of rounding,
# 6e-8 and 1e-16, that leaves 2 % of the constraint open in float32 and 0.03 % in float64.
_DEFAULT_CAP = {torch.float32: 7.0, torch.float64: 15.0}


def as_number(value: float | Tensor) -> tuple[Tensor, float | None]:
    """Read an argument that must be one real number, also where tensors are made on the meta device.

    Args:
        value: The argument, a number or a tensor of one element.

    Returns:
        A tensor with no axes, of the default type unless it had a floating one; and the number, None if it is not one.
    """
    if not isinstance(value, Tensor):
        return torch.tensor(value, dtype=torch.get_default_dtype()), float(value)
    found = value.detach().clone()
    if found.numel() != 1 or found.is_complex():
        return found, None
    found = found.reshape(())
    return found if found.is_floating_point() else found.to(torch.get_default_dtype()), float(found)


def shown(value: Tensor) -> str:
    """A number for a ``repr``; on the meta device there is none."""
    return "?" if value.is_meta else f"{float(value.detach()):g}"


class Curvature(nn.Module):
    r"""Mixin that holds a positive number c, the sectional curvature being −c.

    A fixed c is the buffer ``fixed_c``; a learnable one is :math:`e^{\texttt{log\_c}}` with the parameter ``log_c``,
    so that no step of any optimizer can make it zero or negative.

    Attributes:
        max_radius: Largest geodesic distance from the origin that maps onto the manifold produce, or None for
            the default of :math:`7/\sqrt c` in float32 and :math:`15/\sqrt c` in float64.
    """

    max_radius: float | None
    fixed_c: Tensor
    log_c: nn.Parameter

    def _init_curvature(self, c: float | Tensor, learnable: bool, max_radius: float | None) -> None:
        """Check and register the curvature on a module whose ``nn.Module.__init__`` has run."""
        value, number = as_number(c)
        if number is None or not 0 < number < math.inf:
            raise ValueError(f"`c` must be one positive finite number (the sectional curvature is -c), got {c}.")
        if max_radius is not None and not 0 < max_radius < math.inf:
            raise ValueError(f"`max_radius` must be a positive finite number or None, got {max_radius}.")
        self.max_radius = max_radius
        if not learnable:
            self.register_buffer("fixed_c", value)
            return
        if abs(math.log(number)) > _LOG_C_LIMIT:
            raise ValueError(
                f"`c` must be within exp(±{_LOG_C_LIMIT:g}) to be learnable, got {c}; rescale the distances instead."
            )
        self.log_c = nn.Parameter(value.log())

    @property
    def c(self) -> Tensor:
        """Positive curvature parameter, a tensor with no axes; the sectional curvature is −c."""
        if self.learnable:
            return at_least_float32(self.log_c).clamp(-_LOG_C_LIMIT, _LOG_C_LIMIT).exp()
        return at_least_float32(self.fixed_c)

    @property
    def learnable(self) -> bool:
        """Whether the curvature is a parameter."""
        return "log_c" in self._parameters

    def _cap(self, dtype: torch.dtype) -> float | Tensor:
        r"""Largest geodesic radius times :math:`\sqrt c`."""
        if self.max_radius is None:
            return _DEFAULT_CAP[dtype]
        return self.max_radius * self.c.sqrt()

    def extra_repr(self) -> str:
        """Say the curvature parameter, and what differs from the defaults."""
        parts = [f"c={shown(self.c)}"]
        if self.learnable:
            parts.append("learnable=True")
        if self.max_radius is not None:
            parts.append(f"max_radius={self.max_radius:g}")
        return ", ".join(parts)
