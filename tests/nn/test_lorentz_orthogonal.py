"""Orthogonal Lorentz maps: isometries that stay isometries while they learn."""

from __future__ import annotations

import copy

import geoopt
import pytest
import torch
from compilers import needs_whole_graphs
from layer_cases import CURVATURES, off_manifold, points

import hypersst
from hypersst.manifolds import Lorentz
from hypersst.nn import CSRMatrix, LiftFeatures, LorentzOrthogonal
from hypersst.nn.lorentz_orthogonal import boost


def make(fan_in=4, fan_out=4, c=0.75, moving=True, seed=0):
    torch.manual_seed(seed)
    layer = LorentzOrthogonal(fan_in, fan_out, boost=moving, manifold=Lorentz(c)).double()
    layer.reset_parameters()
    if moving:
        torch.nn.init.normal_(layer.boost)
    return layer


def slow_boost(x, v, c):
    """The matrix of special relativity, from rapidity and direction."""
    d = v.numel()
    rapidity, n = c**0.5 * v.norm(), v / v.norm()
    matrix = torch.eye(d + 1, dtype=v.dtype)
    matrix[0, 0] = rapidity.cosh()
    matrix[0, 1:] = matrix[1:, 0] = rapidity.sinh() * n
    matrix[1:, 1:] += (rapidity.cosh() - 1) * torch.outer(n, n)
    return x @ matrix.T


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("fan_out", [4, 7])
@pytest.mark.parametrize("c", CURVATURES)
def test_distances_are_kept(c, fan_out, moving):
    layer = make(4, fan_out, c, moving)
    x, y = points(layer.manifold, 6, 4, radius=2.0), points(layer.manifold, 6, 4, seed=1)
    torch.testing.assert_close(layer.manifold.dist(layer(x), layer(y)), layer.manifold.dist(x, y))
    assert off_manifold(layer(x), layer.manifold) < 1e-14


@pytest.mark.parametrize("c", CURVATURES)
def test_the_layer_equals_its_slow_twin(c):
    layer = make(4, 4, c)
    x = points(layer.manifold, 6, 4)
    block = torch.block_diag(torch.ones(1, 1, dtype=torch.float64), layer.weight.detach())
    expected = slow_boost(x @ block.T, layer.boost.detach(), c)
    torch.testing.assert_close(layer(x).detach(), expected)


def test_a_boost_moves_the_origin_by_its_velocity_and_its_opposite_moves_it_back():
    manifold = Lorentz(2.5).double()
    v = torch.randn(4, dtype=torch.float64)
    x = points(manifold, 5, 4)
    origin = manifold.origin(5, dtype=torch.float64).as_subclass(torch.Tensor)
    torch.testing.assert_close(manifold.logmap0_space(boost(origin, v, manifold)), v)
    torch.testing.assert_close(boost(boost(x, v, manifold), -v, manifold), x)


@pytest.mark.parametrize("moving", [False, True])
def test_the_map_is_still_an_isometry_after_three_riemannian_steps(moving):
    layer = make(4, 5, moving=moving)
    first = layer.weight.detach().clone()
    optimizer = geoopt.optim.RiemannianAdam(layer.parameters(), lr=0.1)
    x, y = points(layer.manifold, 6, 4), points(layer.manifold, 6, 4, seed=1)
    target = points(layer.manifold, 6, 5, seed=2)
    for _ in range(3):
        optimizer.zero_grad()
        layer.manifold.dist2(layer(x), target).sum().backward()
        optimizer.step()
        torch.testing.assert_close(layer.manifold.dist(layer(x), layer(y)), layer.manifold.dist(x, y))
    assert (layer.weight - first).norm() > 0.1


def test_gradients_agree_with_finite_differences():
    layer = make(3, 3)
    x = points(layer.manifold, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
    weight, v = (p.detach().clone().requires_grad_() for p in (layer.weight, layer.boost))

    def call(weight, v):
        return torch.func.functional_call(layer, {"weight": weight, "boost": v}, (x.detach(),))

    assert torch.autograd.gradcheck(call, (weight, v))


def test_sparse_rows_equal_dense_rows():
    layer = make()
    features = torch.eye(4, dtype=torch.float64)[:3]
    lift = LiftFeatures(manifold=layer.manifold)
    torch.testing.assert_close(layer(lift(CSRMatrix.from_dense(features))), layer(lift(features)))


def test_spectral_training_leaves_orthogonal_weights_alone():
    model = torch.nn.Sequential(make(), torch.nn.Linear(5, 5).double())
    x = points(model[0].manifold, 3, 4)
    before = model(x)
    hypersst.spectralize(model, rank=2)
    assert isinstance(model[0].weight, geoopt.ManifoldParameter)
    torch.testing.assert_close(model(x), before)
    hypersst.merge(model)
    torch.testing.assert_close(model(x), before)


@needs_whole_graphs
def test_one_compiled_graph_and_an_equal_copy():
    layer = make()
    x = points(layer.manifold, 5, 4)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), layer(x))
    twin = copy.deepcopy(layer)
    assert isinstance(twin.weight.manifold, geoopt.EuclideanStiefel)
    torch.testing.assert_close(twin(x), layer(x), rtol=0, atol=0)


def test_fewer_rows_than_columns_are_refused():
    with pytest.raises(
        ValueError, match=r"`out_channels` must be at least in_channels = 4 .* got 3; use LorentzLinear"
    ):
        LorentzOrthogonal(4, 3)
    with pytest.raises(ValueError, match="`in_channels` must be at least 1, got 0"):
        LorentzOrthogonal(0, 3)
    assert repr(LorentzOrthogonal(3, 4, boost=True)).startswith("LorentzOrthogonal(\n  3, 4, boost=True")
