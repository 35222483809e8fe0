"""The ratio functions: values, and Jacobians of f(|v|) v, on a logarithmic grid down to zero."""

import mpmath
import pytest
import torch

from hypersst.manifolds import stable

FUNCTIONS = {
    "sinhc": mpmath.sinh,
    "asinhc": mpmath.asinh,
    "tanhc": mpmath.tanh,
    "artanhc": mpmath.atanh,
    # z = sinh(t/2), t/sinh(t) = 2 asinh(z) / sinh(2 asinh(z)); here times z, as a ratio over z.
    "log_ratio": lambda z: z * 2 * mpmath.asinh(z) / mpmath.sinh(2 * mpmath.asinh(z)) if z else mpmath.mpf(0),
}
GRID = (0.0, 1e-30, 1e-12, 1e-8, 1e-7, 3e-7, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9)


def true_ratio(name, r):
    """f(r)/r and its derivative, in 50 digits."""
    with mpmath.workdps(50):
        r = mpmath.mpf(r)
        if r == 0:
            return mpmath.mpf(1), mpmath.mpf(0)
        return FUNCTIONS[name](r) / r, mpmath.diff(lambda t: FUNCTIONS[name](t) / t, r, h=r * mpmath.mpf(10) ** -15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_ratios_are_right_down_to_zero(name, dtype):
    r = torch.tensor(GRID, dtype=dtype)
    truth = torch.tensor([float(true_ratio(name, float(a))[0]) for a in r], dtype=torch.float64)
    torch.testing.assert_close(getattr(stable, name)(r).double(), truth, rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_jacobian_of_a_scaled_vector_is_right_down_to_zero(name, dtype):
    direction = torch.tensor([0.6, -0.8], dtype=dtype)
    for size in GRID:
        v = size * direction
        jacobian = torch.autograd.functional.jacobian(lambda v: getattr(stable, name)(stable.norm(v)) * v, v)
        f, slope = true_ratio(name, float(v.double().norm()))
        outer = torch.outer(direction, direction).double() * size
        truth = float(f) * torch.eye(2, dtype=torch.float64) + float(slope) * outer
        # artanh and its slope grow as 1/(1 - r): 10 at the end of the grid.
        torch.testing.assert_close(jacobian.double(), truth, rtol=0, atol=64 * torch.finfo(dtype).eps)


def test_artanh_ratio_is_finite_at_and_beyond_the_border():
    r = torch.tensor([1.0, 1.5], requires_grad=True)
    value = stable.artanhc(r)
    value.sum().backward()
    assert value.isfinite().all()
    assert r.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_square_root_is_exact_at_zero_and_loses_nothing_above(dtype):
    x = torch.tensor([-1.0, 0.0, 1e-20, 4.0], dtype=dtype, requires_grad=True)
    root = stable.sqrt0(x)
    root.sum().backward()
    torch.testing.assert_close(root.detach(), torch.tensor([0.0, 0.0, 1e-10, 2.0], dtype=dtype))
    assert root[1] == 0
    torch.testing.assert_close(x.grad, torch.tensor([0.0, 0.0, 5e9, 0.25], dtype=dtype))


def test_half_precision_becomes_float32_and_nothing_else_changes():
    assert stable.at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert stable.at_least_float32(torch.zeros(1, dtype=torch.float16)).dtype == torch.float32
    x = torch.zeros(1, dtype=torch.float64)
    assert stable.at_least_float32(x) is x
