r"""Adam's update of points and of plain parameters, on plain tensors.

Source: D. Kingma, J. Ba, *Adam: a method for stochastic optimization*, 2015, algorithm 1; G. Bécigneul, O. Ganea,
*Riemannian adaptive optimization methods*, 2019, algorithm 1, with every point of a batch as a factor of the product
manifold; S. Reddi, S. Kale, S. Kumar, *On the convergence of Adam and beyond*, 2018, algorithm 2 (AMSGrad).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypersst.optim.units import length_ratio

__all__ = ["AdamSettings", "adam_plain_", "adam_points_", "bias_correction", "step_scale_"]


class AdamSettings(NamedTuple):
    """Numbers of a step.

    Args:
        lr: Learning rate.
        betas: Decay rates of the moments.
        eps: Added to the square root of the second moment.
        corrections: What the moments are divided by, see `bias_correction`.
        elements: Whether ``lr`` counts in elements, see Note [radians and elements].
    """

    lr: float | Tensor
    betas: tuple[float, float]
    eps: float
    corrections: tuple[float | Tensor, float | Tensor]
    elements: bool = False


def bias_correction(beta: float, count: int | Tensor, dtype: torch.dtype) -> float | Tensor:
    r""":math:`1 - \beta^t`, the sum of the weights of t gradients.

    A tensor of counts gives :math:`-\operatorname{expm1}(t\log\beta)`: in float32 the power would leave two digits of
    :math:`1 - 0.999`.
    """
    if not isinstance(count, Tensor):
        return 1.0 - beta**count
    precise = torch.float64 if dtype == torch.float64 else torch.float32
    log = math.log(beta) if beta else -math.inf
    return -(count.to(precise) * log).expm1()


def step_scale_(inner: Tensor, exp_avg_sq: Tensor, max_exp_avg_sq: Tensor | None, settings: AdamSettings) -> Tensor:
    r"""Update the second moment, and return :math:`-\eta / \bigl((1-\beta_1^t)(\sqrt{\hat v} + \epsilon)\bigr)`.

    Args:
        inner: Squared lengths of the gradients, one per point.
        exp_avg_sq: Second moment v in the same shape, updated in place.
        max_exp_avg_sq: Largest second moment so far for AMSGrad, updated in place; None without.
        settings: Numbers of the step.

    Returns:
        What the first moment is multiplied by, in the shape of ``exp_avg_sq``.
    """
    exp_avg_sq.mul_(settings.betas[1]).add_(inner, alpha=1.0 - settings.betas[1])
    second = exp_avg_sq
    if max_exp_avg_sq is not None:
        second = torch.maximum(max_exp_avg_sq, exp_avg_sq, out=max_exp_avg_sq)
    first_correction, second_correction = settings.corrections
    # Not (-lr / …) / …: rates and corrections may be tensors.
    return second.div(second_correction).sqrt_().add_(settings.eps).reciprocal_().mul_(-settings.lr / first_correction)


def adam_points_(
    manifold: Any,
    x: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    settings: AdamSettings,
) -> Tensor:
    r"""One step of points on any geoopt manifold.

    With the Riemannian gradient g: :math:`m \leftarrow \beta_1 m + (1-\beta_1) g` and
    :math:`v \leftarrow \beta_2 v + (1-\beta_2)\langle g, g\rangle_x`; the point follows the retraction along
    :math:`-\eta\,\hat m / (\sqrt{\hat v} + \epsilon)`, and m is transported with it.

    Args:
        manifold: The manifold.
        x: Points, shape ``(N, *)``.
        grad: Euclidean gradients in the same shape; some manifolds overwrite them.
        exp_avg: First moment, tangent at x, updated in place to a tangent vector at the new point.
        exp_avg_sq: Second moment in the shape of the metric, updated in place.
        max_exp_avg_sq: As in `step_scale_`.
        settings: Numbers of the step.

    Returns:
        New points.
    """
    grad = manifold.egrad2rgrad(x, grad)
    exp_avg.mul_(settings.betas[0]).add_(grad, alpha=1.0 - settings.betas[0])
    scale = step_scale_(manifold.component_inner(x, grad), exp_avg_sq, max_exp_avg_sq, settings)
    direction = exp_avg * scale
    if settings.elements:
        coordinates = x.numel() // max(1, exp_avg_sq.numel())
        direction *= length_ratio(manifold, x, direction) * math.sqrt(coordinates)
    points, transported = manifold.retr_transp(x, direction, exp_avg)
    exp_avg.copy_(transported)
    return points


def adam_plain_(
    x: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    settings: AdamSettings,
) -> None:
    """One element-wise step of a plain parameter, in place; real and imaginary parts count as elements."""
    if x.is_complex():
        x, grad, exp_avg, exp_avg_sq = map(torch.view_as_real, (x, grad, exp_avg, exp_avg_sq))
        max_exp_avg_sq = None if max_exp_avg_sq is None else torch.view_as_real(max_exp_avg_sq)
    exp_avg.lerp_(grad, 1.0 - settings.betas[0])
    x.addcmul_(exp_avg, step_scale_(grad * grad, exp_avg_sq, max_exp_avg_sq, settings))
