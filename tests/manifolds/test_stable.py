"""Elementary functions on a logarithmic grid down to zero, against 50 digits."""

import mpmath
import pytest
import torch

from hypersst.manifolds import stable

GRID = (0.0, 1e-30, 1e-12, 1e-8, 1e-7, 3e-7, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 3.0, 1e3)


def on_the_grid(function, truth, dtype, roundings):
    """Compare with 50 digits of ``truth``."""
    r = torch.tensor(GRID, dtype=dtype)
    with mpmath.workdps(50):
        expected = torch.tensor([float(truth(mpmath.mpf(float(a)))) for a in r], dtype=torch.float64)
    torch.testing.assert_close(function(r).double(), expected, rtol=roundings * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_hyperbolic_sine_is_right_down_to_zero(dtype):
    on_the_grid(stable.asinh, mpmath.asinh, dtype, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ratio_of_chord_and_logarithm_is_right_down_to_zero(dtype):
    # z = sinh(t/2), and t/sinh(t) = 2 asinh(z) / sinh(2 asinh(z)).
    def truth(z):
        return 2 * mpmath.asinh(z) / mpmath.sinh(2 * mpmath.asinh(z)) if z else mpmath.mpf(1)

    on_the_grid(stable.log_ratio, truth, dtype, 4)


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
