"""The wrapped normal distribution, against its law."""

import math

import pytest
import torch
from manifold_cases import CURVATURES, MODELS, Case

from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare

KINDS = {"lorentz": Lorentz, "poincare": PoincareBall}


def radii(model, c, std, count=4000, dim=5):
    manifold = KINDS[model](c)
    size = (count, dim + 1 if model == "lorentz" else dim)
    return manifold.dist0(manifold.random_normal(size, std=std, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("std", [1e-3, 0.1, 0.5])
@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("model", MODELS)
def test_squared_radii_have_the_mean_of_a_chi_square_distribution(model, c, std):
    # E r² = d std², with the standard deviation sqrt(2 d / n) std² of the mean; 5 of these is one in two million.
    squared = radii(model, c, std).double().square().mean() / std**2
    assert abs(float(squared) - 5) < 5 * math.sqrt(2 * 5 / 4000)


@pytest.mark.parametrize("c", CURVATURES)
def test_both_models_draw_the_same_points(c):
    points = [
        kind(c).random_normal(50, 4 if kind is PoincareBall else 5, std=0.7, generator=torch.Generator().manual_seed(1))
        for kind in (Lorentz, PoincareBall)
    ]
    torch.testing.assert_close(
        lorentz_to_poincare(points[0].as_subclass(torch.Tensor), c), points[1].as_subclass(torch.Tensor)
    )


@pytest.mark.parametrize("model", MODELS)
def test_the_generator_decides_the_draw(model):
    case = Case(model)
    first, again, other = (
        case.manifold.random(3, case.coordinates, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # Without one, torch's seed decides.
    torch.manual_seed(0)
    first = case.manifold.random(3, case.coordinates)
    torch.manual_seed(0)
    assert torch.equal(first, case.manifold.random(3, case.coordinates))


@pytest.mark.parametrize("model", MODELS)
def test_the_mean_shifts_the_tangent_vectors(model):
    case = Case(model)
    mean = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64)
    points = case.manifold.random_normal(6, case.coordinates, mean=mean, std=0.0)
    expected = (mean if model == "lorentz" else 0.5 * mean).expand(6, 3)
    torch.testing.assert_close(case.manifold.logmap0(points)[..., -3:], expected)


@pytest.mark.parametrize("model", MODELS)
def test_wide_draws_stay_under_the_cap(model):
    assert float(radii(model, 1.0, 100.0).max()) < 7.01


def test_sizes_without_room_for_a_point_are_refused():
    with pytest.raises(ValueError, match="`size` must end in d \\+ 1 coordinates with d at least 1"):
        Lorentz().random_normal(3, 1)
    with pytest.raises(ValueError, match="`size` must end in d coordinates with d at least 1"):
        PoincareBall().random_normal(3, 0)


def test_a_random_point_of_a_learnable_manifold_is_a_leaf():
    points = Lorentz(learnable=True).random_normal(3, 4)
    assert not points.requires_grad
