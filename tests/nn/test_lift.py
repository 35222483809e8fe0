"""Features onto the manifold: dense equals sparse, far features stop at the cap, memory forgets in time."""

from __future__ import annotations

import copy

import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, off_manifold, sparse_features

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn import CSRMatrix, LiftFeatures


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("name", MANIFOLDS)
def test_sparse_features_land_where_dense_ones_do(name, c):
    lift = LiftFeatures(manifold=MANIFOLDS[name](c)).double()
    x = sparse_features()
    sparse = lift(CSRMatrix.from_dense(x))
    assert isinstance(sparse, CSRMatrix)
    torch.testing.assert_close(sparse.to_dense(), lift(x))


def test_dense_lorentz_features_follow_hybonet():
    # A zero is prepended and the vector exponentiated: (cosh r, sinh(r) v / r) / √c with r = √c ‖v‖.
    c = 0.7
    v = torch.randn(5, 3, dtype=torch.float64)
    r = c**0.5 * v.norm(dim=-1, keepdim=True)
    expected = torch.cat((r.cosh() / c**0.5, r.sinh() / r * v), dim=-1)
    torch.testing.assert_close(LiftFeatures(manifold=Lorentz(c)).double()(v), expected)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", MANIFOLDS)
def test_long_features_stop_at_the_cap(name, sparse):
    manifold = MANIFOLDS[name]()
    x = torch.tensor([[1000.0, 0.0], [0.0, 0.1]])
    y = LiftFeatures(manifold=manifold)(CSRMatrix.from_dense(x) if sparse else x)
    y = y.to_dense() if sparse else y
    assert y.isfinite().all()
    assert 6.0 < float(manifold.dist0(y)[0]) <= 7.01
    assert off_manifold(y, manifold) < 1e-6


def test_every_time_coordinate_of_sparse_points_is_stored():
    points = LiftFeatures(manifold=Lorentz())(CSRMatrix.from_dense(sparse_features()))
    assert int((points.col == 0).sum()) == 6
    assert points.shape == (6, 11)


def test_zero_rows_have_finite_gradients():
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]]).to_sparse_csr()
    # One stored zero in the row of zeros.
    matrix = CSRMatrix(torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1]), torch.tensor([0.0, 1.0, 2.0]), x.shape)
    values = matrix.values.requires_grad_()
    LiftFeatures(manifold=Lorentz())(matrix).values.sum().backward()
    assert values.grad.isfinite().all()
    assert float(values.grad[0]) == pytest.approx(1.0)  # exp₀ is the identity to first order


@pytest.mark.parametrize("sparse", [False, True])
def test_the_same_features_are_lifted_once(sparse):
    lift = LiftFeatures(manifold=Lorentz())
    x = CSRMatrix.from_dense(sparse_features().float()) if sparse else sparse_features().float()
    assert lift(x) is lift(x)


def test_changed_features_or_curvature_are_lifted_again():
    lift = LiftFeatures(manifold=Lorentz(1.0))
    x = sparse_features().float()
    first = lift(x)
    assert lift(x.clone()) is not first  # other features
    first = lift(x)
    x.mul_(2.0)
    torch.testing.assert_close(lift(x), lift(x.clone()))  # changed in place
    x_before = lift(x)
    lift.load_state_dict(LiftFeatures(manifold=Lorentz(4.0)).state_dict())
    assert not torch.allclose(lift(x), x_before)
    assert lift.double()(x.double()).dtype == torch.float64


def test_nothing_is_kept_that_needs_a_gradient():
    lift = LiftFeatures(manifold=PoincareBall(learnable=True))
    x = sparse_features().float()
    for _ in range(2):
        lift(x).sum().backward()  # a kept graph could not be walked twice
    trained = LiftFeatures(manifold=Lorentz())
    y = x.clone().requires_grad_()
    for _ in range(2):
        trained(y).sum().backward()
    assert y.grad.isfinite().all()


def test_results_of_inference_mode_are_not_kept():
    lift = LiftFeatures(manifold=Lorentz())
    x = sparse_features().float()
    with torch.inference_mode():
        lift(x)
    weight = torch.ones(11, requires_grad=True)
    (lift(x) * weight).sum().backward()


def test_copies_do_not_carry_the_features_along():
    lift = LiftFeatures(manifold=Lorentz())
    lift(sparse_features().float())
    assert copy.deepcopy(lift)._lifted is None
    assert lift._lifted is not None


def test_a_result_that_was_written_into_is_not_given_out_again():
    layer = LiftFeatures(manifold=Lorentz())
    x = torch.randn(3, 4)
    expected = layer(x).clone()
    layer(x).zero_()
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
