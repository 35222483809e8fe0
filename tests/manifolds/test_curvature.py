"""The curvature parameter: conventions, constraints, and life as a module."""

import copy
import io
import math

import geoopt
import pytest
import torch

from hypersst.manifolds import Lorentz, PoincareBall

KINDS = (Lorentz, PoincareBall)
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@pytest.mark.parametrize("c", [0.0, -1.0, math.inf, math.nan])
def test_a_curvature_that_is_not_positive_is_refused(kind, c):
    with pytest.raises(ValueError, match=r"`c` must be one positive finite number .* got"):
        kind(c)


@each_kind
def test_a_vector_of_curvatures_is_refused(kind):
    with pytest.raises(ValueError, match="`c` must be one positive finite number"):
        kind(torch.ones(2))


@each_kind
@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_a_radius_that_is_not_positive_is_refused(kind, radius):
    with pytest.raises(ValueError, match="`max_radius` must be a positive finite number or None, got"):
        kind(max_radius=radius)


@each_kind
def test_a_learnable_curvature_out_of_reach_is_refused(kind):
    with pytest.raises(ValueError, match="to be learnable, got"):
        kind(1e-10, learnable=True)


def test_c_is_minus_the_sectional_curvature_and_k_is_geoopts():
    lorentz, ball = Lorentz(0.25), PoincareBall(0.25)
    assert lorentz.c == ball.c == 0.25
    assert lorentz.k == 4.0
    assert ball.k == -0.25
    assert isinstance(lorentz, geoopt.Lorentz)
    assert isinstance(ball, geoopt.PoincareBall)
    # A circle of radius r has the circumference 2π sinh(√c r)/√c: in the limit of two near directions, dist/angle.
    x, y = lorentz.double().expmap0_space(2 * torch.tensor([[1.0, 0.0], [1.0, 1e-6]], dtype=torch.float64))
    assert float(lorentz.dist(x, y)) / 1e-6 == pytest.approx(math.sinh(0.5 * 2) / 0.5, rel=1e-6)


@each_kind
@pytest.mark.parametrize("step", [1e-3, 1.0, 1e3, 1e30])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_no_gradient_step_makes_a_learnable_curvature_leave_the_positive_numbers(kind, step, sign):
    manifold = kind(learnable=True)
    optimizer = torch.optim.SGD(manifold.parameters(), lr=step)
    for _ in range(3):
        optimizer.zero_grad()
        (sign * manifold.c).backward()
        optimizer.step()
        assert 0 < float(manifold.c.detach()) < math.inf
        x = manifold.expmap0(torch.tensor([0.0, 1.0, 2.0]))
        y = manifold.expmap0(torch.tensor([0.0, -1.0, 0.5]))
        assert manifold.dist(x, y).isfinite()
        assert manifold.dist(x, y) >= 0


@each_kind
def test_training_the_curvature_finds_the_one_that_explains_the_distances(kind):
    truth, manifold = kind(2.0), kind(0.5, learnable=True)
    v = 0.5 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    v[:, 0] = 0
    x = truth.expmap0(v)
    target = truth.dist(x[:10], x[10:])
    optimizer = torch.optim.Adam(manifold.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        y = manifold.expmap0(v)
        (manifold.dist(y[:10], y[10:]) - target).square().mean().backward()
        optimizer.step()
    assert float(manifold.c.detach()) == pytest.approx(2.0, rel=1e-2)


@each_kind
def test_a_fixed_curvature_is_no_parameter(kind):
    assert list(kind().parameters()) == []
    assert [name for name, _ in kind(learnable=True).named_parameters()] == ["log_c"]


@each_kind
@pytest.mark.parametrize("learnable", [False, True])
def test_state_survives_saving_copying_and_conversion(kind, learnable):
    manifold = kind(0.3, learnable=learnable)
    buffer = io.BytesIO()
    torch.save(manifold.state_dict(), buffer)
    buffer.seek(0)
    other = kind(1.0, learnable=learnable)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert other.c == manifold.c
    assert copy.deepcopy(manifold).c == manifold.c
    assert copy.deepcopy(manifold).c is not manifold.c
    double = copy.deepcopy(manifold).double()
    assert double.c.dtype == double.k.dtype == torch.float64
    # Half precision keeps a rounded curvature but computes in float32.
    assert copy.deepcopy(manifold).bfloat16().c.dtype == torch.float32
    assert float(manifold.c.detach()) == pytest.approx(0.3, rel=1e-6)


@each_kind
def test_a_learnable_curvature_works_under_functional_call(kind):
    manifold = kind(learnable=True)

    class Distance(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.manifold = manifold

        def forward(self, v):
            return self.manifold.dist0(self.manifold.expmap0(v))

    v = torch.tensor([0.0, 0.3, 0.4])
    out = torch.func.functional_call(Distance(), {"manifold.log_c": torch.tensor(math.log(4.0))}, (v,))
    torch.testing.assert_close(out, torch.tensor(0.5 if kind is Lorentz else 1.0))


def test_the_repr_says_c():
    assert repr(Lorentz(0.5)) == "Lorentz(c=0.5) manifold"
    assert repr(PoincareBall()) == "PoincareBall(c=1) manifold"
    assert repr(Lorentz(2.0, learnable=True, max_radius=3)) == "Lorentz(c=2, learnable=True, max_radius=3) manifold"


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_radius_is_capped_where_it_is_documented(kind, dtype):
    default = 7.0 if dtype == torch.float32 else 15.0
    for c, radius in ((1.0, None), (4.0, None), (1.0, 2.5), (4.0, 2.5)):
        manifold = kind(torch.tensor(c, dtype=dtype), max_radius=radius)
        cap = default / math.sqrt(c) if radius is None else radius
        v = torch.tensor([0.0, 3e7, -4e7], dtype=dtype)
        x = manifold.expmap0(v)
        step = manifold.transp0(x, v)
        found = {
            "expmap0": x,
            "expmap": manifold.expmap(x, step),
            "retr": manifold.retr(x, step),
            "projx": manifold.projx(v),
        }
        for name, point in found.items():
            # The ball loses eps·cosh²(radius/2) of a distance near its border.
            assert float(manifold.dist0(point)) == pytest.approx(cap, rel=4e-4 if kind is PoincareBall else 1e-6), name


def test_without_projection_the_radius_is_free():
    x = Lorentz().expmap0_space(torch.tensor([9.0, 0.0]), project=False)
    assert float(Lorentz().dist0(x)) == pytest.approx(9.0)
    assert float(Lorentz().dist0(Lorentz().from_space(x[1:]))) == pytest.approx(9.0)


@each_kind
@pytest.mark.parametrize("size", [1e20, 1e38, math.inf])
def test_a_point_whose_norm_overflows_goes_to_the_cap_not_to_the_origin(kind, size):
    manifold, x = kind(), torch.tensor([1.0, 0.0, 1.0]) * torch.tensor([1.0, 1.0, size])
    assert float(manifold.dist0(manifold.projx(x))) == pytest.approx(7.0, rel=4e-4)
    origin = manifold.origin(3).as_subclass(torch.Tensor)
    assert float(manifold.dist0(manifold.retr(origin, x - origin))) == pytest.approx(7.0, rel=4e-4)
