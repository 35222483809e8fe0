"""All distances between two lists, by one product."""

from __future__ import annotations

import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points
from torch import Tensor

from hypersst.nn import distance_matrix

both_models = pytest.mark.parametrize("name", MANIFOLDS)


@pytest.mark.parametrize("c", CURVATURES)
@both_models
def test_entries_are_the_distances_of_pairs_in_values_and_gradients(name, c):
    manifold = MANIFOLDS[name](c, learnable=True).double()
    with torch.no_grad():
        x, y = points(manifold, 2, 4, 3), points(manifold, 2, 5, 3, seed=1)
    weight = torch.randn(2, 4, 5, dtype=torch.float64)
    results = []
    for distances in (
        lambda x, y: distance_matrix(x, y, manifold),
        lambda x, y: manifold.dist(x.unsqueeze(-2), y.unsqueeze(-3)),
    ):
        leaves = (x.clone().requires_grad_(), y.clone().requires_grad_())
        d = distances(*leaves)
        results.append((d, torch.autograd.grad((weight * d).sum(), (*leaves, manifold.log_c))))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@both_models
def test_float32_points_at_radius_7_are_as_far_as_float64_says(name):
    manifold = MANIFOLDS[name]()
    x = points(manifold, 50, 8, radius=7.0, dtype=torch.float32)
    found = distance_matrix(x, x.roll(1, 0), manifold)
    wide = manifold.double().from_space(x[:, 1:].double()) if name == "lorentz" else x.double()
    exact = manifold.double().dist(wide.unsqueeze(1), wide.roll(1, 0).unsqueeze(0))
    assert found.dtype == torch.float32
    # Among them are equal points, whose distance of zero the product knows to 2e-5.
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=2e-5)
    torch.testing.assert_close(found[exact > 1.0].double(), exact[exact > 1.0], rtol=1e-6, atol=0.0)


@both_models
def test_equal_points_have_finite_gradients(name):
    manifold = MANIFOLDS[name]()
    x = torch.cat(
        (points(manifold, 3, 2, radius=5.0, dtype=torch.float32), manifold.origin(1, 2 + (name == "lorentz")))
    )
    x = x.as_subclass(Tensor).detach().requires_grad_()
    distances = distance_matrix(x, x, manifold)
    assert float(distances.detach().diagonal().max()) < 1e-5
    distances.sum().backward()
    assert x.grad.isfinite().all()


@both_models
def test_autocast_and_half_precision_leave_float32(name):
    manifold = MANIFOLDS[name]()
    x = points(manifold, 4, 3, radius=3.0, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = distance_matrix(x, x, manifold)
    torch.testing.assert_close(found, distance_matrix(x, x, manifold), rtol=0, atol=0)
    assert distance_matrix(x.bfloat16(), x.bfloat16(), manifold).dtype == torch.float32
