"""What options of the optimizers do, and which are refused."""

from __future__ import annotations

import math

import geoopt
import pytest
import torch
from optim_cases import MANIFOLDS, POINTS, assert_close, give_gradients, mixture, parameters, run, twins, values
from spectral_cases import small_model

import hypersst
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.optim import RiemannianAdam, RiemannianAdamW, RiemannianSGD

KINDS = {
    "adam": lambda params, **options: RiemannianAdam(params, **{"lr": 0.05} | options),
    "amsgrad": lambda params, **options: RiemannianAdam(params, **{"lr": 0.05, "amsgrad": True} | options),
    "sgd": lambda params, **options: RiemannianSGD(params, **{"lr": 0.02} | options),
    "momentum": lambda params, **options: RiemannianSGD(params, **{"lr": 0.02, "momentum": 0.9} | options),
}


@pytest.mark.parametrize("name", KINDS)
def test_maximizing_is_minimizing_the_negative(name):
    mine, others = twins(mixture())
    up, down = KINDS[name](mine, maximize=True), KINDS[name](others)
    for step in range(5):
        give_gradients(mine, step)
        give_gradients(others, step)
        for p in others:
            p.grad.neg_()
        up.step()
        down.step()
    assert_close(mine, others)


@pytest.mark.parametrize("name", KINDS)
def test_stacked_steps_are_those_of_single_points(name):
    mine, others = twins(mixture())
    run(KINDS[name](mine), mine, 5)
    run(KINDS[name](others, foreach=False), others, 5)
    assert_close(mine, others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lr", [0.05, torch.tensor(0.05, dtype=torch.float64)], ids=["number", "tensor"])
@pytest.mark.parametrize("name", KINDS)
def test_a_step_that_can_be_captured_is_the_same_step(name, lr, dtype):
    # A tensor of rate 0.05 in float64 is 0.05 to the bit.
    mine, others = twins([p for kind in MANIFOLDS if kind != "geoopt-lorentz" for p in parameters(kind, dtype)])
    captured, ordinary = KINDS[name](mine, lr=lr, capturable=True), KINDS[name](others, lr=0.05)
    for step in range(6):
        for params in (mine, others):
            give_gradients(params, step)
            if step % 2:  # counts differ
                params[3].grad = params[7].grad = None
        captured.step()
        ordinary.step()
    assert_close(mine, others)
    for p, q in zip(mine, others, strict=True):
        if "step" in ordinary.state[q]:
            count = captured.state[p]["step"]
            assert isinstance(count, torch.Tensor)
            assert int(count) == ordinary.state[q]["step"]


@pytest.mark.parametrize("name", KINDS)
def test_a_rate_given_as_a_tensor_is_read_at_every_step(name):
    mine, others = twins(mixture())
    lr = torch.tensor(0.05, dtype=torch.float64)
    ours, numbers = KINDS[name](mine, lr=lr), KINDS[name](others, lr=0.05)
    run(ours, mine, 2)
    run(numbers, others, 2)
    lr.mul_(0.5)
    numbers.param_groups[0]["lr"] = 0.025
    run(ours, mine, range(2, 4))
    run(numbers, others, range(2, 4))
    assert_close(mine, others)


@pytest.mark.parametrize("name", ["adam", "momentum"])
@pytest.mark.parametrize("kind", POINTS)
def test_the_manifold_may_come_from_the_group(kind, name):
    # As where a wrapper has replaced the class of the parameters.
    manifold = MANIFOLDS[kind](torch.float64)
    points = parameters(kind, manifold=manifold)
    plain = [torch.nn.Parameter(p.detach().as_subclass(torch.Tensor).clone()) for p in points]
    ours = KINDS[name]([{"params": plain, "manifold": manifold}])
    run(ours, plain, 4)
    run(KINDS[name](points), points, 4)
    assert_close(plain, points)
    assert "manifold" not in ours.state_dict()["param_groups"][0]
    ours.load_state_dict(ours.state_dict())
    assert ours.param_groups[0]["manifold"] is manifold


def test_a_group_may_name_the_manifold_that_its_points_have():
    points = parameters("lorentz")
    run(RiemannianAdam([{"params": points, "manifold": MANIFOLDS["lorentz"](torch.float64)}]), points, 1)


@pytest.mark.parametrize("kind", ["sphere", "lorentz", "ball"])
def test_a_rate_in_radians_is_the_geodesic_length_of_the_first_step(kind):
    [p] = parameters(kind, shapes=[(50, 6)])
    [before] = values([p])
    run(RiemannianAdam([p], lr=1e-3, unit="radians"), [p], 1)
    length = p.manifold.dist(before, p.detach().as_subclass(torch.Tensor))
    torch.testing.assert_close(length, torch.full_like(length, 1e-3), rtol=0.01, atol=0)


@pytest.mark.parametrize("kind", ["sphere", "lorentz", "ball"])
def test_a_rate_in_elements_is_the_root_mean_square_change_of_coordinates_in_the_first_step(kind):
    [p] = parameters(kind, shapes=[(50, 6)])
    [before] = values([p])
    run(RiemannianAdam([p], lr=1e-5, unit="elements"), [p], 1)
    change = (values([p])[0] - before).square().mean(dim=-1).sqrt()
    torch.testing.assert_close(change, torch.full_like(change, 1e-5), rtol=0.01, atol=0)


def test_a_rate_in_elements_counts_all_entries_of_a_matrix_on_stiefel():
    [p] = parameters("stiefel", shapes=[(9, 4, 3)])
    [before] = values([p])
    run(RiemannianAdam([p], lr=1e-5, unit="elements"), [p], 1)
    change = (values([p])[0] - before).square().mean(dim=(-2, -1)).sqrt()
    torch.testing.assert_close(change, torch.full_like(change, 1e-5), rtol=0.01, atol=0)


def test_gradient_descent_in_elements_is_that_of_the_coordinates():
    [p] = parameters("ball", shapes=[(50, 6)])
    [before] = values([p])
    run(RiemannianSGD([p], lr=1e-3, unit="elements"), [p], 1)
    torch.testing.assert_close(values([p])[0], before - 1e-3 * p.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["sphere", "stiefel"])
def test_gradient_descent_reads_both_units_alike_where_lengths_agree(kind):
    mine, others = twins(parameters(kind))
    run(RiemannianSGD(mine, 0.05, 0.9, unit="elements"), mine, 4)
    run(RiemannianSGD(others, 0.05, 0.9, unit="radians"), others, 4)
    assert_close(mine, others)


def test_elements_of_the_group_are_elements_of_param_groups():
    converted, named = small_model(), small_model()
    rates = hypersst.param_groups(converted, lr=0.1, vector_lr=0.02, unit="elements", optimizer=RiemannianAdam)
    groups = hypersst.param_groups(named, lr=0.1, vector_lr=0.02)
    for group in groups:
        group["unit"] = "elements"
    for model, optimizer in ((converted, RiemannianAdam(rates)), (named, RiemannianAdam(groups))):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(4, 8)).square().sum().backward()
            optimizer.step()
    assert_close(list(converted.parameters()), list(named.parameters()))


@pytest.mark.parametrize("kind", MANIFOLDS)
def test_the_first_gradient_of_a_parameter_is_not_dampened(kind):
    mine, others = twins(parameters(kind))
    dampened, plain = RiemannianSGD(mine, 0.02, 0.9, dampening=0.5), RiemannianSGD(others, 0.02, 0.9)
    for params, optimizer in ((mine, dampened), (others, plain)):
        give_gradients(params, 0)
        params[2].grad = None
        optimizer.step()
    assert_close(mine, others)
    # In the second step only the third begins, which shares a shape with the first.
    run(dampened, mine, range(1, 2))
    run(plain, others, range(1, 2))
    assert_close(mine[2:3], others[2:3])
    rest = [(p, q) for i, (p, q) in enumerate(zip(values(mine), values(others), strict=True)) if i != 2]
    assert all((p - q).abs().max() > 1e-3 for p, q in rest)


@pytest.mark.parametrize("name", ["adam", "momentum"])
@pytest.mark.parametrize("kind", POINTS)
def test_stabilizing_brings_points_and_momentum_back(kind, name):
    params = parameters(kind)
    optimizer = KINDS[name](params)
    run(optimizer, params, 2)
    momentum = "exp_avg" if name == "adam" else "momentum_buffer"
    for p in params:
        p.data.mul_(0.9)
        optimizer.state[p][momentum].add_(0.1)
    optimizer.stabilize()
    for p in params:
        assert p.manifold.check_point_on_manifold(p.detach(), atol=1e-9)
        u = optimizer.state[p][momentum]
        assert_close([p.manifold.proju(p, u)], [u])


@pytest.mark.parametrize("kind", POINTS)
def test_a_thousand_steps_stay_on_the_manifold(kind):
    params = parameters(kind, shapes=[(4, 3), (4, 3)])
    run(RiemannianAdam(params, lr=0.01, stabilize=100), params, 1000)
    for p in params:
        assert p.manifold.check_point_on_manifold(p.detach(), atol=1e-8, rtol=1e-8)


def test_zero_gradients_leave_points_and_state_finite():
    # On geoopt's own hyperboloid a step of length zero is one of 1e-8.
    params = [p for name in MANIFOLDS if name != "geoopt-lorentz" for p in parameters(name)]
    for unit in ("radians", "elements"):
        optimizer = RiemannianAdam(params, lr=0.1, unit=unit)
        before = values(params)
        for p in params:
            p.grad = torch.zeros_like(p)
        optimizer.step()
        assert_close(params, before)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (RiemannianAdam, {"lr": -0.1}, r"`lr` must not be negative, got -0\.1"),
        (RiemannianAdam, {"lr": float("nan")}, "`lr` must not be negative, got nan"),
        (RiemannianAdam, {"lr": torch.ones(2)}, r"`lr` must be one number, got a tensor of shape \(2,\)"),
        (RiemannianAdam, {"betas": (0.9, 1.0)}, r"`betas` must be in \[0, 1\), got \(0\.9, 1\.0\)"),
        (RiemannianAdam, {"eps": -1.0}, r"`eps` must not be negative, got -1\.0"),
        (RiemannianAdam, {"weight_decay": -1.0}, r"`weight_decay` must not be negative, got -1\.0"),
        (RiemannianAdam, {"unit": "degrees"}, "`unit` must be one of radians, elements, got 'degrees'"),
        (RiemannianAdam, {"stabilize": 0}, "`stabilize` must be at least 1 or None, got 0"),
        (RiemannianAdamW, {"differentiable": True}, "`differentiable` must be False: RiemannianAdamW steps in place"),
        (RiemannianAdam, {"stabilize": 5, "capturable": True}, "`stabilize` must be None with `capturable`"),
        (RiemannianSGD, {"momentum": -0.1}, r"`momentum` must not be negative, got -0\.1"),
        (RiemannianSGD, {"nesterov": True}, r"`nesterov` needs a positive `momentum` and zero `dampening`, got 0\.0"),
        (
            RiemannianSGD,
            {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
            r"`nesterov` needs .* got 0\.9 and 0\.1",
        ),
        (RiemannianSGD, {"lr": -0.1}, r"`lr` must not be negative, got -0\.1"),
    ],
)
def test_wrong_options_are_refused(kind, options, message):
    params = [torch.nn.Parameter(torch.ones(3))]
    with pytest.raises(ValueError, match=message):
        kind(params, **options)
    # Of a group as well, which is then not there.
    optimizer = kind([torch.nn.Parameter(torch.ones(3))])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": params, **options})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("kind", [RiemannianAdam, RiemannianAdamW, RiemannianSGD])
def test_weight_decay_of_points_is_refused_also_when_it_comes_later(kind):
    params = parameters("sphere")
    message = r"`weight_decay` must be 0 in a group with points on Sphere, got 0\.1: split .* `hypersst.param_groups`"
    with pytest.raises(ValueError, match=message):
        kind(params, weight_decay=0.1)
    plain = [torch.nn.Parameter(p.detach().as_subclass(torch.Tensor).clone()) for p in params]
    with pytest.raises(ValueError, match=message):
        kind([{"params": plain, "manifold": geoopt.Sphere()}], weight_decay=0.1)
    optimizer = kind(params)
    run(optimizer, params, 1)
    optimizer.param_groups[0]["weight_decay"] = 0.1
    with pytest.raises(ValueError, match=message):
        run(optimizer, params, 1)


def test_manifolds_of_groups_are_checked():
    points = parameters("sphere")
    with pytest.raises(TypeError, match="`manifold` of a group must be a geoopt manifold or 'sphere', got str"):
        RiemannianAdam([{"params": points, "manifold": "ball"}])
    with pytest.raises(
        ValueError, match=r"`manifold` of a group must be that of its parameters, got PoincareBall.* on "
    ):
        RiemannianAdam([{"params": points, "manifold": PoincareBall()}])
    with pytest.raises(ValueError, match=r"`params` on Stiefel\(euclidean\) must have the shape of its points, but .*"):
        RiemannianAdam([{"params": [torch.nn.Parameter(torch.ones(3))], "manifold": geoopt.EuclideanStiefel()}])
    with pytest.raises(ValueError, match="`manifold` of a group must be that of its parameters"):
        RiemannianAdam([{"params": parameters("lorentz"), "manifold": Lorentz(c=2.0)}])


@pytest.mark.parametrize("kind", ["flat", "sphere"])
def test_sparse_gradients_are_refused(kind):
    params = parameters(kind, shapes=[(4, 3), (4, 3)])
    for p in params:
        p.grad = torch.ones(4, 3, dtype=torch.float64).to_sparse()
    with pytest.raises(RuntimeError, match=r"must be dense, got a sparse one: use `geoopt.optim.SparseRiemannianAdam`"):
        RiemannianAdam(params).step()


def test_the_first_angle_on_the_sphere_is_the_rate():
    p = geoopt.ManifoldParameter(torch.tensor([[1.0, 0.0]]), manifold=geoopt.Sphere())
    optimizer = RiemannianAdam([p], lr=0.1)
    p.grad = torch.tensor([[0.0, -5.0]])
    optimizer.step()
    assert math.atan2(p[0, 1].item(), p[0, 0].item()) == pytest.approx(math.atan(0.1), rel=1e-5)
