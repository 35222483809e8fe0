"""What every hyperbolic linear layer promises beyond the laws of ``test_conformance.py``."""

from __future__ import annotations

import geoopt
import pytest
import torch
from layer_cases import CURVATURES, LINEARS, make_linear, manifold_of, off_manifold, points

from hypersst.manifolds import Lorentz
from hypersst.nn import LorentzLinear, MobiusLinear, PoincareLinear

NAMES = tuple(LINEARS)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("radius", [0.0, 1e-3, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_lie_on_the_manifold(name, radius, c):
    layer = make_linear(name, 4, 5, c)
    y = layer(points(layer.manifold, 50, 4, radius=radius, dtype=torch.float32))
    assert y.isfinite().all()
    # Time is a root of a sum of squares: a few roundings, whatever the radius.
    assert off_manifold(y, layer.manifold) < 16 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("name", NAMES)
def test_gradients_without_bias_agree_with_finite_differences(name):
    layer = make_linear(name, 3, 2, 0.7, bias=False).double()
    x = points(layer.manifold, 4, 3).requires_grad_()
    names = [n for n, _ in layer.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *values))


@pytest.mark.parametrize("name", NAMES)
def test_zero_features_give_finite_gradients(name):
    layer = LINEARS[name](4, 3, manifold=manifold_of(name))
    x = points(layer.manifold, 5, 4, radius=0.0, dtype=torch.float32).requires_grad_()
    layer(x).square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_zero_features_and_zero_bias_give_the_origin(name):
    layer = LINEARS[name](4, 3, manifold=manifold_of(name))
    x = points(layer.manifold, 5, 4, radius=0.0, dtype=torch.float32)
    y = layer(x)
    torch.testing.assert_close(y, layer.manifold.origin(*y.shape).as_subclass(torch.Tensor))


@pytest.mark.parametrize("name", NAMES)
def test_three_steps_move_every_parameter_and_bring_points_nearer_to_their_targets(name):
    layer = make_linear(name, 4, 5)
    before = [p.detach().clone() for p in layer.parameters()]
    optimizer = geoopt.optim.RiemannianAdam(layer.parameters(), lr=0.1)
    x = points(layer.manifold, 20, 4, dtype=torch.float32)
    target = points(layer.manifold, 20, 5, radius=2.0, dtype=torch.float32, seed=1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        y = layer(x)
        loss = layer.manifold.dist(y, target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(not torch.equal(p, q) for p, q in zip(before, layer.parameters(), strict=True))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_is_read_once_per_forward(name):
    layer = make_linear(name, 4, 5)
    reads = 0
    weight = layer.weight
    del layer.weight

    class Counting(type(layer)):
        @property
        def weight(self):
            nonlocal reads
            reads += 1
            return weight

    layer.__class__ = Counting
    layer(points(layer.manifold, 2, 4, dtype=torch.float32))
    assert reads == 1


@pytest.mark.parametrize("name", NAMES)
def test_learnable_curvature_gets_a_gradient(name):
    layer = LINEARS[name](4, 5, manifold=manifold_of(name, 0.7, learnable=True))
    x = 0.3 * torch.randn(6, 4 + isinstance(layer.manifold, Lorentz))
    if isinstance(layer.manifold, Lorentz):
        x = layer.manifold.from_space(x[:, 1:])
    layer(x).square().sum().backward()
    (curvature,) = layer.manifold.parameters()
    assert curvature.grad.isfinite()
    assert curvature.grad != 0


def test_plain_geoopt_manifolds_are_converted():
    layer = LorentzLinear(3, 4, manifold=geoopt.Lorentz(4.0))
    assert float(layer.manifold.c) == 0.25
    assert float(PoincareLinear(3, 4, manifold=geoopt.PoincareBall(2.0)).manifold.c) == pytest.approx(2.0)
    learnable = MobiusLinear(3, 4, manifold=geoopt.Lorentz(2.0, learnable=True)).manifold
    assert isinstance(learnable, Lorentz)
    assert learnable.c.requires_grad


def test_a_given_manifold_is_shared_not_copied():
    manifold = Lorentz(0.5)
    assert LorentzLinear(3, 4, manifold=manifold).manifold is manifold
    assert MobiusLinear(3, 4, manifold=manifold).manifold is manifold


@pytest.mark.parametrize("name", NAMES)
def test_wrong_width_is_refused(name):
    layer = make_linear(name, 4, 5)
    with pytest.raises(ValueError, match=r"`x` must have in_channels.* = \d columns, got shape \(2, 9\)"):
        layer(torch.zeros(2, 9))


@pytest.mark.parametrize("name", NAMES)
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match="`in_channels` must be at least 1, got 0"):
        LINEARS[name](0, 4)
    with pytest.raises(ValueError, match="`out_channels` must be at least 1, got -2"):
        LINEARS[name](4, -2)


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`time` must be one of gated, recomputed, hyperplane, got 'gate'"):
        LorentzLinear(3, 4, time="gate")
    with pytest.raises(ValueError, match=r"`dropout` must be at least 0 and below 1, got 1\.0"):
        MobiusLinear(3, 4, dropout=1.0)
    with pytest.raises(ValueError, match=r"`activation` must be one of .* did you mean relu"):
        LorentzLinear(3, 4, activation="rely")
    with pytest.raises(TypeError, match=r"`manifold` must be a geoopt\.Lorentz or None, got Euclidean"):
        LorentzLinear(3, 4, manifold=geoopt.Euclidean())
    with pytest.raises(TypeError, match=r"`manifold` must be a geoopt\.PoincareBall or None, got Lorentz"):
        PoincareLinear(3, 4, manifold=Lorentz())
    with pytest.raises(TypeError, match="got Sphere"):
        MobiusLinear(3, 4, manifold=geoopt.Sphere())
