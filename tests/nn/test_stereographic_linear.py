"""The κ-stereographic linear layer: Möbius layer, `nn.Linear`, and what lies between and beyond."""

from __future__ import annotations

import copy

import geoopt
import pytest
import torch
import torch.nn.functional as F
from layer_cases import shake, sparse_features

import hypersst
from hypersst.manifolds import PoincareBall
from hypersst.manifolds.stereographic import Stereographic
from hypersst.nn import CSRMatrix, MobiusLinear, StereographicLinear, as_stereographic


def make(k=-0.5, fan_in=4, fan_out=3, learnable=False, **options):
    torch.manual_seed(0)
    layer = StereographicLinear(fan_in, fan_out, manifold=Stereographic(k, learnable=learnable), **options)
    if not learnable:
        shake(layer)
    return layer.double()


def inputs(*shape, seed=0):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("k", [-1.0, 0.0, 0.7])
def test_the_layer_equals_its_slow_twin(k):
    layer, x = make(k), inputs(5, 4)
    # Written with geoopt's own κ-stereographic mathematics.
    kappa = torch.tensor(k, dtype=torch.float64)
    math = geoopt.manifolds.stereographic.math
    rows = []
    for row in x:
        y = math.expmap0(layer.weight @ math.logmap0(row, k=kappa), k=kappa)
        rows.append(math.mobius_add(y, math.expmap0(layer.bias, k=kappa), k=kappa))
    torch.testing.assert_close(layer(x), torch.stack(rows))


def test_curvature_zero_is_the_euclidean_layer_to_rounding_and_in_the_limit():
    x = inputs(5, 4)
    for k, tolerance in ((0.0, 1e-15), (1e-6, 1e-5), (-1e-6, 1e-5)):
        layer = make(k)
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("c", [0.25, 1.0])
def test_negative_curvature_is_the_moebius_layer(c):
    layer, moebius = make(-c), MobiusLinear(4, 3, manifold=PoincareBall(c)).double()
    moebius.load_state_dict(layer.state_dict(), strict=False)
    x = inputs(5, 4)
    torch.testing.assert_close(layer(x), moebius(x))


@pytest.mark.parametrize("k", [-1.0, 0.0, 0.7])
def test_sparse_rows_equal_dense_rows(k):
    layer = make(k, 10, 3)
    x = 0.3 * sparse_features()
    torch.testing.assert_close(layer(CSRMatrix.from_dense(x)), layer(x))


@pytest.mark.parametrize("k", [-1.0, 1e-3, 0.0, 0.7])
def test_gradients_agree_with_finite_differences(k):
    layer, x = make(k, learnable=True), inputs(3, 4).requires_grad_()
    names = [n for n, _ in layer.named_parameters()]
    values = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())
    assert "manifold.k" in names

    def call(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))


def test_spectralize_and_merge_leave_the_map():
    layer, x = make(), inputs(5, 4)
    before, plain = layer(x), [n for n, _ in layer.named_parameters()]
    hypersst.spectralize(layer, rank=2)
    torch.testing.assert_close(layer(x), before)
    hypersst.merge(layer)
    torch.testing.assert_close(layer(x), before)
    assert sorted(n for n, _ in layer.named_parameters()) == sorted(plain)


def test_one_compiled_graph_and_an_equal_copy():
    layer, x = make(learnable=True), inputs(5, 4)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="eager")(x), layer(x))
    torch.testing.assert_close(copy.deepcopy(layer)(x), layer(x), rtol=0, atol=0)


def test_dropout_acts_on_the_weight_in_training_only():
    layer, x = make(dropout=0.5), inputs(5, 4)
    assert not torch.allclose(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_geoopts_family_is_converted_at_the_border():
    ours = Stereographic(0.3)
    assert as_stereographic(ours) is ours
    assert as_stereographic().k == -1
    assert as_stereographic(geoopt.SphereProjection(0.5)).k.item() == pytest.approx(0.5)
    ball = as_stereographic(PoincareBall(2.0, learnable=True))
    assert ball.k.item() == pytest.approx(-2.0) and ball.learnable
    with pytest.raises(TypeError, match=r"`manifold` must be a geoopt\.Stereographic or None, got Lorentz"):
        StereographicLinear(3, 4, manifold=geoopt.Lorentz())
    with pytest.raises(ValueError, match="`x` must have in_channels = 4 columns"):
        make()(inputs(5, 3))
