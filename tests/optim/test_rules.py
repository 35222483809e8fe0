"""The rules of hyperboloid and ball equal the general one, also where rounding bites."""

from __future__ import annotations

import pytest
import torch
from manifold_cases import CURVATURES, DTYPES, MODELS, Case

from hypersst.optim.adam_rules import AdamSettings, adam_points_, bias_correction
from hypersst.optim.ball_adam import adam_ball_
from hypersst.optim.lorentz_adam import adam_lorentz_

RULES = {"lorentz": adam_lorentz_, "poincare": adam_ball_}


def settings(lr, dtype=torch.float64):
    return AdamSettings(lr, (0.9, 0.999), 1e-8, (bias_correction(0.9, 3, dtype), bias_correction(0.999, 3, dtype)))


def step(rule, case, lr, std, dtype=None, amsgrad=False, max_radius=None):
    """New point, first and second moment of one step, from the same start in any precision."""
    dtype = dtype or case.dtype
    manifold = type(case.manifold)(torch.tensor(case.c, dtype=dtype), max_radius=max_radius)
    x = manifold.projx(case.point(0, std).to(dtype))
    # Gradients and moments of moderate length in the metric, as those of a function of distances.
    unit = Case(case.model, dtype, case.c, case.shape)
    exp_avg, gradient = 0.1 * unit.tangent(x, 1), unit.tangent(x, 2)
    if case.model == "lorentz":
        grad = torch.cat((-gradient[..., :1], gradient[..., 1:]), dim=-1)
    else:
        grad = manifold.lambda_x(x, keepdim=True).square() * gradient
    exp_avg_sq = torch.rand((*case.shape, 1), generator=torch.Generator().manual_seed(4), dtype=torch.float64).to(dtype)
    largest = 0.5 * exp_avg_sq if amsgrad else None
    y = rule(manifold, x, grad, exp_avg, exp_avg_sq, largest, settings(lr))
    return manifold, y, exp_avg, exp_avg_sq, largest


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("std", [1e-3, 0.5, 1.5])
@pytest.mark.parametrize("lr", [1e-3, 0.3])
@pytest.mark.parametrize("model", MODELS)
def test_the_rule_of_a_model_is_the_general_one(model, lr, std, c, amsgrad):
    case = Case(model, torch.float64, c, (2, 40))
    _, *mine = step(RULES[model], case, lr, std, amsgrad=amsgrad)
    _, *general = step(adam_points_, case, lr, std, amsgrad=amsgrad)
    for a, b in zip(mine, general, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def errors(manifold, y, moment, true_y, true_moment):
    """Geodesic distance in units of the curvature radius, and relative error of the moment, both the largest."""
    distance = manifold.dist(manifold.projx(y.double()), true_y) * manifold.c.sqrt()
    difference, whole = (
        manifold.component_inner(true_y, u).sqrt() for u in (moment.double() - true_moment, true_moment)
    )
    return float(distance.max()), float((difference / whole).max())


@pytest.mark.parametrize("std", [1e-3, 1.0, 3.0])
@pytest.mark.parametrize("model", MODELS)
def test_the_rule_of_a_model_rounds_no_worse_than_the_general_one(model, std):
    case = Case(model, torch.float32, 1.0, (2000,))
    manifold, true_y, true_moment, *_ = step(adam_points_, case, 0.1, std, torch.float64, max_radius=7.0)
    _, y, moment, *_ = step(RULES[model], case, 0.1, std)
    _, general_y, general_moment, *_ = step(adam_points_, case, 0.1, std)
    mine = errors(manifold, y, moment, true_y, true_moment)
    general = errors(manifold, general_y, general_moment, true_y, true_moment)
    assert mine[0] < 3 * general[0] + 1e-6
    assert mine[1] < 3 * general[1] + 1e-6


@pytest.mark.parametrize("lr", [0.5, 30.0])
@pytest.mark.parametrize("model", MODELS)
def test_steps_that_would_leave_the_radius_end_as_the_general_ones(model, lr):
    case = Case(model, torch.float64, 1.0, (50,))
    manifold, y, moment, *_ = step(RULES[model], case, lr, 2.0, max_radius=3.0)
    _, general_y, general_moment, *_ = step(adam_points_, case, lr, 2.0, max_radius=3.0)
    assert (manifold.dist0(y) > 2.999).sum() > 5
    assert manifold.dist0(y).max() < 3 + 1e-9
    torch.testing.assert_close(y, general_y, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(moment, general_moment, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_curvature_of_another_precision_does_not_change_that_of_the_points(model, dtype):
    case = Case(model, dtype)
    other = torch.float64 if dtype == torch.float32 else torch.float32
    manifold = Case(model, other).manifold
    x = case.point(0)
    moment, second = torch.zeros_like(x), torch.zeros(*case.shape, 1, dtype=dtype)
    y = RULES[model](manifold, x, torch.ones_like(x), moment, second, None, settings(0.1, dtype))
    assert y.dtype == dtype
    assert y.isfinite().all()


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999, 0.999999])
def test_bias_corrections_of_counts_on_a_device_keep_their_digits(beta):
    for dtype in DTYPES:
        counts = torch.tensor([1.0, 2.0, 10.0, 1e4, 1e6])
        expected = torch.tensor([bias_correction(beta, int(n), dtype) for n in counts], dtype=dtype)
        torch.testing.assert_close(
            bias_correction(beta, counts, dtype), expected, rtol=4 * torch.finfo(dtype).eps + 1e-10, atol=0
        )
