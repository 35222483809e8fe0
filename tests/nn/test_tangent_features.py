"""Points as vectors: the way back from `LiftFeatures`, dense and sparse."""

from __future__ import annotations

import math

import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points, sparse_features

from hypersst.nn import CSRMatrix, LiftFeatures, TangentFeatures

both_models = pytest.mark.parametrize("name", MANIFOLDS)


@pytest.mark.parametrize("c", CURVATURES)
@both_models
def test_vectors_are_the_logarithm_by_hand(name, c):
    read = TangentFeatures(manifold=MANIFOLDS[name](c)).double()
    x = points(read.manifold, 5, 3, radius=2.0)
    expected = []
    for row in x.tolist():
        space = row[1:] if name == "lorentz" else row
        r = math.sqrt(c) * math.hypot(*space)
        expected.append([(math.asinh(r) if name == "lorentz" else math.atanh(r)) / r * a for a in space])
    torch.testing.assert_close(read(x), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("c", CURVATURES)
@both_models
def test_what_was_lifted_is_read_again(name, c):
    manifold = MANIFOLDS[name](c).double()
    lift, read = LiftFeatures(manifold=manifold), TangentFeatures(manifold=manifold)
    x = sparse_features()
    torch.testing.assert_close(read(lift(x)), x)
    matrix = CSRMatrix.from_dense(x)
    back = read(lift(matrix))
    assert isinstance(back, CSRMatrix)
    assert back.shape == matrix.shape
    torch.testing.assert_close(back.row, matrix.row)
    torch.testing.assert_close(back.col, matrix.col)
    torch.testing.assert_close(back.values, matrix.values)
    y = torch.randn(10, 2, dtype=torch.float64)
    torch.testing.assert_close(back @ y, x @ y)


@both_models
def test_points_read_and_lifted_are_where_they_were(name):
    manifold = MANIFOLDS[name](0.75).double()
    lift, read = LiftFeatures(manifold=manifold), TangentFeatures(manifold=manifold)
    x = points(manifold, 5, 3, radius=3.0)
    torch.testing.assert_close(lift(read(x)), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@both_models
def test_the_origin_as_a_sparse_row_has_finite_gradients(name, dtype):
    manifold = MANIFOLDS[name](0.75, learnable=True).to(dtype)
    # One stored zero in the row of zeros.
    crow, col = torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1])
    values = torch.tensor([0.0, 1.0, 2.0], dtype=dtype, requires_grad=True)
    with torch.no_grad():
        lifted = LiftFeatures(manifold=manifold)(CSRMatrix(crow, col, values, (2, 2)))
    lifted.values.requires_grad_()
    read = TangentFeatures(manifold=manifold)(lifted)
    torch.testing.assert_close(read.values, values)
    read.values.sum().backward()
    assert lifted.values.grad.isfinite().all()
    assert manifold.log_c.grad.isfinite()
