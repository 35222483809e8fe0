"""From equal states our steps are geoopt's, whatever is stacked with what."""

from __future__ import annotations

import copy

import geoopt
import pytest
import torch
from optim_cases import MANIFOLDS, POINTS, assert_close, give_gradients, mixture, parameters, run, twins, values

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.optim import RiemannianAdam, RiemannianSGD

ADAM = {
    "adam": {"lr": 0.05},
    "amsgrad": {"lr": 0.05, "amsgrad": True},
    "other-betas": {"lr": 0.05, "betas": (0.0, 0.5), "eps": 0.1},
    "stabilized": {"lr": 0.05, "stabilize": 3},
}
SGD = {
    "sgd": {"lr": 0.02},
    "momentum": {"lr": 0.02, "momentum": 0.9},
    "dampened": {"lr": 0.02, "momentum": 0.8, "dampening": 0.3},
    "nesterov": {"lr": 0.02, "momentum": 0.9, "nesterov": True},
    "stabilized": {"lr": 0.02, "momentum": 0.9, "stabilize": 2},
}
DTYPES = (torch.float32, torch.float64)
# In float32 a rounding grows to a percent on geoopt's hyperboloid within a few steps.
KINDS = [(name, dtype) for name in MANIFOLDS for dtype in DTYPES if (name, dtype) != ("geoopt-lorentz", torch.float32)]


def begin_momentum(ours, mine, theirs, others):
    # geoopt begins momentum with the Euclidean gradient, see RiemannianSGD; equal steps are claimed for equal momentum.
    if ours.param_groups[0]["momentum"]:
        for p, q in zip(mine, others, strict=True):
            ours.state[p]["momentum_buffer"] = torch.zeros(p.shape, dtype=p.dtype)
            theirs.state[q]["momentum_buffer"] = torch.zeros(q.shape, dtype=q.dtype)


def assert_equal_states(ours, mine, theirs, others):
    for p, q in zip(mine, others, strict=True):
        assert ours.state[p].keys() == theirs.state[q].keys()
        for name, entry in theirs.state[q].items():
            own = ours.state[p][name]
            if name == "step":
                assert own == entry
            else:
                assert_close([own.expand_as(entry)], [entry], [p])


@pytest.mark.parametrize("options", ADAM.values(), ids=ADAM)
@pytest.mark.parametrize(("name", "dtype"), KINDS)
def test_adam_makes_the_steps_of_geoopt(name, options, dtype):
    mine, others = twins(parameters(name, dtype))
    ours, theirs = RiemannianAdam(mine, **options), geoopt.optim.RiemannianAdam(others, **options)
    start = values(mine)
    for step in range(7):
        run(ours, mine, range(step, step + 1))
        run(theirs, others, range(step, step + 1))
        assert_close(mine, others)
    assert_equal_states(ours, mine, theirs, others)
    assert all((p - s).abs().max() > 0.01 for p, s in zip(values(mine), start, strict=True))


@pytest.mark.parametrize("options", SGD.values(), ids=SGD)
@pytest.mark.parametrize(("name", "dtype"), KINDS)
def test_sgd_makes_the_steps_of_geoopt(name, options, dtype):
    mine, others = twins(parameters(name, dtype))
    ours, theirs = RiemannianSGD(mine, **options), geoopt.optim.RiemannianSGD(others, **options)
    begin_momentum(ours, mine, theirs, others)
    start = values(mine)
    for step in range(7):
        run(ours, mine, range(step, step + 1))
        run(theirs, others, range(step, step + 1))
        assert_close(mine, others)
    assert_equal_states(ours, mine, theirs, others)
    assert all((p - s).abs().max() > 0.01 for p, s in zip(values(mine), start, strict=True))


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_mixture_of_all_kinds_makes_the_steps_of_geoopt(kind):
    mine, others = twins(mixture())
    if kind == "adam":
        ours, theirs = RiemannianAdam(mine, lr=0.05), geoopt.optim.RiemannianAdam(others, lr=0.05)
    else:
        ours, theirs = RiemannianSGD(mine, 0.02, 0.9), geoopt.optim.RiemannianSGD(others, 0.02, 0.9)
        begin_momentum(ours, mine, theirs, others)
    run(ours, mine, 9)
    run(theirs, others, 9)
    assert_close(mine, others)
    assert_equal_states(ours, mine, theirs, others)


@pytest.mark.parametrize("name", ["flat", *POINTS])
def test_parameters_that_sometimes_lack_a_gradient_make_the_steps_of_geoopt(name):
    mine, others = twins(parameters(name))
    ours, theirs = RiemannianAdam(mine, lr=0.05), geoopt.optim.RiemannianAdam(others, lr=0.05)
    for step in range(8):
        for params in (mine, others):
            give_gradients(params, step)
            # The last one first has a gradient in step 3; the others take turns.
            for i, p in enumerate(params):
                if (i + step) % 3 == 0 or (i == len(params) - 1 and step < 3):
                    p.grad = None
        ours.step()
        theirs.step()
    assert_close(mine, others)
    assert_equal_states(ours, mine, theirs, others)


def test_points_and_their_learnable_curvature_make_the_steps_of_geoopt():
    # In the ball, where a point stays one when the curvature changes. Curvatures move first, here in geoopt's too.
    def build():
        manifolds = [PoincareBall(torch.tensor(c, dtype=torch.float64), learnable=True) for c in (0.5, 0.5, 2.0)]
        points = [parameters("ball", shapes=[(4, 3)], manifold=m, seed=i)[0] for i, m in enumerate(manifolds)]
        return [*(m.log_c for m in manifolds), *points]

    mine, others = build(), build()
    run(RiemannianAdam(mine, lr=0.05), mine, 5)
    run(geoopt.optim.RiemannianAdam(others, lr=0.05), others, 5)
    assert_close(mine, others)


@pytest.mark.parametrize("kind", [Lorentz, PoincareBall])
def test_equal_curvatures_that_part_later_make_the_steps_of_geoopt(kind):
    name = "lorentz" if kind is Lorentz else "ball"
    mine, others = parameters(name), parameters(name)
    ours, theirs = RiemannianAdam(mine, lr=0.05), geoopt.optim.RiemannianAdam(others, lr=0.05)
    run(ours, mine, 2)
    run(theirs, others, 2)
    for params, optimizer in ((mine, ours), (others, theirs)):
        params[0].manifold.fixed_c.fill_(0.6)  # as loading a checkpoint of the model does
        optimizer.stabilize()
    run(ours, mine, range(2, 5))
    run(theirs, others, range(2, 5))
    assert_close(mine, others)


def test_manifolds_with_numbers_that_only_they_know_are_not_taken_for_each_other():
    # The subspace of a Sphere decides on its steps.
    def build():
        spaces = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        manifolds = [geoopt.Sphere(intersection=space) for space in spaces]
        points = [manifold.projx(torch.ones(4, 5, dtype=torch.float64)) for manifold in manifolds]
        return [geoopt.ManifoldParameter(x, manifold=m) for x, m in zip(points, manifolds, strict=True)]

    mine, others = build(), build()
    run(RiemannianAdam(mine, lr=0.05), mine, 4)
    run(geoopt.optim.RiemannianAdam(others, lr=0.05), others, 4)
    assert_close(mine, others)


def test_product_and_scaled_manifolds_make_the_steps_of_geoopt():
    def build():
        product = geoopt.ProductManifold((Lorentz(torch.tensor(1.0).double()), 3), (geoopt.Sphere(), 4))
        scaled = geoopt.Scaled(geoopt.Sphere(), 2.0)
        numbers = torch.randn(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        points = [(product.projx(numbers), product), (product.projx(-numbers), product)]
        points += [(scaled.projx(numbers), scaled), (scaled.projx(-numbers), scaled)]
        return [geoopt.ManifoldParameter(x, manifold=m) for x, m in points]

    mine, others = build(), build()
    run(RiemannianAdam(mine, lr=0.05), mine, 4)
    run(geoopt.optim.RiemannianAdam(others, lr=0.05), others, 4)
    assert_close(mine, others)


class _Grid(geoopt.Euclidean):
    """Flat space whose projections nobody overlooks, and no step makes by itself."""

    def projx(self, x):
        return (8 * x).round() / 8

    def proju(self, x, u):
        return 0.5 * u


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_projections_come_every_so_many_steps_as_in_geoopt(kind):
    grid = _Grid()
    mine, others = parameters("flat", manifold=grid), parameters("flat", manifold=grid)
    if kind == "adam":
        ours, theirs = (
            o(p, lr=0.05, stabilize=3) for o, p in ((RiemannianAdam, mine), (geoopt.optim.RiemannianAdam, others))
        )
    else:
        ours, theirs = (
            RiemannianSGD(mine, 0.02, 0.9, stabilize=3),
            geoopt.optim.RiemannianSGD(others, 0.02, 0.9, stabilize=3),
        )
        begin_momentum(ours, mine, theirs, others)
    for step in range(7):
        run(ours, mine, range(step, step + 1))
        run(theirs, others, range(step, step + 1))
        assert_close(mine, others)
        assert_equal_states(ours, mine, theirs, others)
        on_grid = all(torch.equal(grid.projx(p), p) for p in values(mine))
        assert on_grid == (step in (2, 5))


@pytest.mark.parametrize("name", ["sphere", "lorentz", "ball", "stiefel"])
def test_points_of_equal_manifolds_move_in_one_call_per_shape(name, monkeypatch):
    mine = parameters(name)  # five points in three shapes, each with a manifold object of its own
    kind, shapes = type(mine[0].manifold), []
    original = kind.retr_transp
    monkeypatch.setattr(kind, "retr_transp", lambda self, x, *args: shapes.append(x.shape) or original(self, x, *args))
    # In elements, for which every manifold takes its own verbs.
    run(RiemannianAdam(mine, lr=0.05, unit="elements"), mine, 1)
    assert sorted(shapes) == [(1, 7, 3), (2, 4, 3), (2, 5, 4, 3)]


def test_a_stack_too_large_for_one_tensor_makes_the_same_steps(monkeypatch):
    mine, others = twins(parameters("sphere", shapes=[(4, 3)] * 5))
    run(RiemannianAdam(mine, lr=0.05), mine, 3)
    monkeypatch.setattr("hypersst.optim.plan._LARGEST", 24)  # two at a time
    run(RiemannianAdam(others, lr=0.05), others, 3)
    assert_close(mine, others)


def test_large_points_make_the_steps_of_geoopt():
    # Their rows are not kept as views.
    mine, others = twins(parameters("ball", shapes=[(50, 30), (50, 30)]))
    run(RiemannianAdam(mine, lr=0.05), mine, 3)
    run(geoopt.optim.RiemannianAdam(others, lr=0.05), others, 3)
    assert_close(mine, others)


@pytest.mark.parametrize("name", ["lorentz", "ball", "sphere"])
def test_half_precision_makes_the_steps_of_geoopt(name):
    mine, others = twins(parameters(name, torch.bfloat16))
    run(RiemannianAdam(mine, lr=0.05), mine, 3)
    run(geoopt.optim.RiemannianAdam(others, lr=0.05), others, 3)
    for p, q in zip(values(mine), values(others), strict=True):
        torch.testing.assert_close(p, q, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_gradients_stay_as_they_are(name):
    for kind in POINTS:
        params = parameters(kind)
        optimizer = RiemannianAdam(params, lr=0.05) if name == "adam" else RiemannianSGD(params, 0.02, 0.9)
        give_gradients(params, 0)
        before = [p.grad.clone() for p in params]
        optimizer.step()
        assert all(torch.equal(p.grad, g) for p, g in zip(params, before, strict=True)), kind


def test_a_state_of_geoopt_is_continued_as_by_geoopt_and_back():
    mine, others = twins(mixture())
    theirs = geoopt.optim.RiemannianAdam(others, lr=0.05, amsgrad=True)
    run(theirs, others, 3)
    for p, q in zip(mine, others, strict=True):
        p.data.copy_(q)
    ours = RiemannianAdam(mine, lr=0.05, amsgrad=True)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    run(ours, mine, range(3, 6))
    run(theirs, others, range(3, 6))
    assert_close(mine, others)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    for state in theirs.state.values():  # geoopt leaves them float32 tensors, in which its corrections are rounded
        state["step"] = int(state["step"])
    run(theirs, others, range(6, 9))
    run(ours, mine, range(6, 9))
    assert_close(mine, others)
