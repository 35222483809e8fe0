r"""Adam's update of points of the Poincaré ball, in fewer operations than the general one.

The verbs of the ball share the gaps α = 1 − c|x|² and β = 1 − c|y|². The metric at x is 4/α², so the Riemannian
gradient is α²/4 times the Euclidean one, g, and its squared length α²/4 · |g|². Transport is that of
`poincare_math.transp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypersst.manifolds import PoincareBall
from hypersst.manifolds.poincare_math import conformal_gap, project
from hypersst.manifolds.stable import dot
from hypersst.optim.adam_rules import AdamSettings, step_scale_

__all__ = ["adam_ball_"]


def adam_ball_(
    manifold: PoincareBall,
    x: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    max_exp_avg_sq: Tensor | None,
    settings: AdamSettings,
) -> Tensor:
    r"""One step of points in the ball, equal to `adam_points_`.

    Args:
        manifold: The ball.
        x: Points, shape ``(*, d)``, in float32 or float64.
        grad: Euclidean gradients in the same shape.
        exp_avg: First moment, tangent at x, updated in place to a tangent vector at the new point.
        exp_avg_sq: Second moment, shape ``(*, 1)``, updated in place.
        max_exp_avg_sq: The largest so far for AMSGrad, updated in place; None without.
        settings: Numbers of the step, the rate in radians.

    Returns:
        New points.
    """
    c = manifold.c.to(x)
    gap_x = conformal_gap(x, c)
    metric = gap_x.square().mul_(0.25)
    m = exp_avg.lerp_(grad * metric, 1.0 - settings.betas[0])
    scale = step_scale_(dot(grad, grad).mul_(metric), exp_avg_sq, max_exp_avg_sq, settings)
    y = project(torch.addcmul(x, m, scale), c, cap=manifold._cap(x.dtype))

    gap_y = conformal_gap(y, c)
    diff = y - x
    square = dot(diff, diff).mul_(c)
    xm, diff_m = dot(x, m), dot(diff, m)
    along_x = torch.addcmul(gap_x * diff_m, square, xm, value=-1)
    along_diff = torch.addcmul((gap_y + square).mul_(xm), 1 - gap_x, diff_m)
    factor = 2 * c / torch.addcmul(square, gap_x, gap_y)
    m.addcmul_(along_x.mul_(factor), x).addcmul_(along_diff.mul_(factor), diff, value=-1).mul_(gap_y / gap_x)
    return y
