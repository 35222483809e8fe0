"""Radial maps f(k|v|) v with their hand-written backward: values, Jacobians, second derivatives, down to zero."""

import mpmath
import pytest
import torch

from hypersst.manifolds.radial import radial

FUNCTIONS = {
    "sinh": mpmath.sinh,
    "asinh": mpmath.asinh,
    "tanh": mpmath.tanh,
    "artanh": mpmath.atanh,
    "length": lambda r: r,
}
TEXTBOOK = {
    "sinh": torch.sinh,
    "asinh": torch.asinh,
    "tanh": torch.tanh,
    "artanh": torch.atanh,
    "length": lambda r: r,
}
GRID = (0.0, 1e-30, 1e-12, 1e-8, 1e-7, 3e-7, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9)
ONE = torch.tensor(1.0, dtype=torch.float64)
profiles = pytest.mark.parametrize("profile", FUNCTIONS)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def textbook(x, k, profile, cap, time_in, time_out):
    """The same in the plainest form, for autograd."""
    v = x[..., 1:] if time_in else x
    r = k * v.norm(dim=-1, keepdim=True)
    argument = r if cap is None else r.clamp_max(cap)
    y = TEXTBOOK[profile](argument) / r * v
    times = {"sinh": argument.cosh() / k, "length": (1 + argument.square()).sqrt() / k}
    time = times.get(profile, torch.zeros_like(r))
    return torch.cat((time, y), dim=-1) if time_out else y


def true_ratio(profile, r):
    """f(r)/r and its derivative, in 50 digits."""
    with mpmath.workdps(50):
        r, f = mpmath.mpf(r), FUNCTIONS[profile]
        if r == 0:
            return mpmath.mpf(1), mpmath.mpf(0)
        return f(r) / r, mpmath.diff(lambda t: f(t) / t, r, h=r * mpmath.mpf(10) ** -15)


@dtypes
@profiles
def test_values_are_right_down_to_zero(profile, dtype):
    r = torch.tensor(GRID, dtype=dtype).unsqueeze(-1)
    truth = torch.tensor([float(true_ratio(profile, float(a))[0]) * float(a) for a in r], dtype=torch.float64)
    y = radial(r, ONE.to(dtype), profile)
    torch.testing.assert_close(y.double().squeeze(-1), truth, rtol=4 * torch.finfo(dtype).eps, atol=0)


@dtypes
@profiles
def test_jacobians_are_right_down_to_zero(profile, dtype):
    direction = torch.tensor([0.6, -0.8], dtype=dtype)
    for size in GRID:
        v = size * direction
        jacobian = torch.autograd.functional.jacobian(lambda v: radial(v, ONE.to(dtype), profile), v)
        f, slope = true_ratio(profile, float(v.double().norm()))
        outer = torch.outer(direction, direction).double() * size
        truth = float(f) * torch.eye(2, dtype=torch.float64) + float(slope) * outer
        # artanh and its slope grow as 1/(1 - r): 10 at the end of the grid.
        torch.testing.assert_close(jacobian.double(), truth, rtol=0, atol=64 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dim", [-1, 0])
@pytest.mark.parametrize("time", [(False, False), (True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize(
    ("profile", "cap"),
    [
        *[("sinh", None), ("sinh", 0.5), ("tanh", None), ("tanh", 0.5), ("asinh", None), ("artanh", None)],
        *[("length", None), ("length", 0.5)],
    ],
)
def test_first_and_second_derivatives_equal_those_of_the_textbook_form(profile, cap, time, dim):
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(6, 4, dtype=torch.float64, generator=generator) - 0.5).requires_grad_()
    k = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 5, dtype=torch.float64, generator=generator)

    def ours(x, k):
        options = {"cap": cap, "time_in": time[0], "time_out": time[1], "dim": dim}
        return radial(x, k, profile, **options) if dim == -1 else radial(x.t(), k, profile, **options).t()

    def first_and_second(function):
        y = function(x, k)
        # Without and with the graph of the backward pass, which take different ways.
        plain = torch.autograd.grad(y, (x, k), weights[:, : y.shape[1]], retain_graph=True)
        gradients = torch.autograd.grad(y, (x, k), weights[:, : y.shape[1]], create_graph=True)
        second = torch.autograd.grad(gradients[0].square().sum() + gradients[1].square(), (x, k))
        return y, *plain, *gradients, *second

    expected = first_and_second(lambda x, k: textbook(x, k, profile, cap, *time))
    for found, truth in zip(first_and_second(ours), expected, strict=True):
        torch.testing.assert_close(found, truth)


@profiles
def test_it_maps_over_batches_and_differentiates_under_functional_transforms(profile):
    v = 0.3 * torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def single(v):
        return radial(v, ONE, profile).sum()

    torch.testing.assert_close(torch.func.vmap(single)(v), radial(v, ONE, profile).sum(-1))
    leaf = v.clone().requires_grad_()
    single(leaf).backward()
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(single))(v), leaf.grad)


def test_inverse_hyperbolic_tangent_is_finite_at_and_beyond_the_border():
    v = torch.tensor([[1.0], [1.5]], requires_grad=True)
    value = radial(v, torch.tensor(1.0), "artanh")
    value.sum().backward()
    assert value.isfinite().all()
    assert v.grad.isfinite().all()


@dtypes
def test_lengths_that_would_overflow_are_cut_to_the_cap_and_move_nothing(dtype):
    large = torch.finfo(dtype).max
    x = torch.tensor([[large, -large], [large**0.75, 0.0]], dtype=dtype, requires_grad=True)
    y = radial(x, ONE.to(dtype), "length", cap=3.0, time_out=True)
    root = 4.5**0.5
    torch.testing.assert_close(y, torch.tensor([[10**0.5, root, -root], [10**0.5, 3.0, 0.0]], dtype=dtype))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.abs().max() < 1e-15
