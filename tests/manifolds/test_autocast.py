"""Geometry runs in float32, whatever precision the layers around it run in."""

import pytest
import torch
from manifold_cases import MODELS, Case

from hypersst.manifolds import lorentz_to_poincare, poincare_to_lorentz

HALVES = [torch.bfloat16, torch.float16]


def calls(case, dtype=None):
    m, x, y = case.manifold, case.point(0), case.point(1)
    u, o = case.tangent(x, 2), case.at_origin(3)
    x, y, u, o = (a if dtype is None else a.to(dtype) for a in (x, y, u, o))
    weight = torch.ones(5) if dtype is None else torch.ones(5, dtype=dtype)
    found = {
        "expmap0": (o,), "logmap0": (x,), "expmap": (x, u), "logmap": (x, y), "dist": (x, y), "dist0": (x,),
        "dist2": (x, y), "inner": (x, u), "transp": (x, y, u), "transp0": (y, o), "transp0back": (x, u),
        "projx": (x,), "proju": (x, y), "retr": (x, u), "egrad2rgrad": (x, y), "midpoint": (x, weight),
    }  # fmt: skip
    if case.model == "lorentz":
        found |= {"from_space": (o[:, 1:],), "expmap0_space": (o[:, 1:],), "logmap0_space": (x,), "sqdist": (x, y)}
        found |= {"normalize": (x,), "centroid": (x, weight), "norm": (u,)}
    else:
        found |= {"mobius_add": (x, y), "lambda_x": (x,), "norm": (x, u), "dist2plane": (x, y, u)}
        found |= {"mobius_scalar_mul": (2.0, x), "weighted_midpoint": (x, weight), "norm": (x, u)}
    return m, found


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("model", MODELS)
def test_autocast_changes_nothing_beyond_the_order_of_sums(model, half):
    manifold, found = calls(Case(model, torch.float32))
    for name, arguments in found.items():
        with torch.autocast("cpu", half):
            value = getattr(manifold, name)(*arguments)
        assert value.dtype == torch.float32, name
        # Rows are summed by another kernel there, which on some processors adds in another order.
        torch.testing.assert_close(value, getattr(manifold, name)(*arguments), msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("model", MODELS)
def test_half_precision_inputs_are_computed_and_returned_in_float32(model, half):
    manifold, found = calls(Case(model, torch.float32), half)
    for name, arguments in found.items():
        value = getattr(manifold, name)(*arguments)
        assert value.dtype == torch.float32, name
        full = getattr(manifold, name)(*(a.float() if isinstance(a, torch.Tensor) else a for a in arguments))
        assert torch.equal(value, full), name


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("convert", [lorentz_to_poincare, poincare_to_lorentz])
def test_isometries_return_float32(convert, half):
    case = Case("lorentz" if convert is lorentz_to_poincare else "poincare", torch.float32)
    assert convert(case.point(0).to(half), 1.0).dtype == torch.float32


@pytest.mark.parametrize("model", MODELS)
def test_gradients_reach_half_precision_inputs(model):
    case = Case(model, torch.float32)
    v = case.at_origin(0).bfloat16().requires_grad_()
    case.manifold.dist0(case.manifold.expmap0(v)).sum().backward()
    assert v.grad.dtype == torch.bfloat16
    assert v.grad.isfinite().all()
