"""Batch normalisation of points against its formula, and what follows from it."""

from __future__ import annotations

import copy
import math

import geoopt
import pytest
import torch
from layer_cases import CURVATURES, MANIFOLDS, points
from torch import nn

from hypersst.experiments.conformance.points import isometry
from hypersst.manifolds import Lorentz, PoincareBall, lorentz_to_poincare, poincare_to_lorentz
from hypersst.nn import HyperbolicBatchNorm

every_manifold = pytest.mark.parametrize("kind", MANIFOLDS.values(), ids=MANIFOLDS)
ROWS, DIM = 6, 3


def batch(manifold, seed=0, dtype=torch.float64, rows=ROWS):
    """Points of various radii, none about the origin alone."""
    x = torch.cat(
        [points(manifold, rows // 2, DIM, radius=r, seed=seed + i, dtype=dtype) for i, r in enumerate((0.5, 2.0))]
    )
    return isometry(manifold)(x)


def make(kind, c=0.75, **options):
    """A layer in float64 whose centre and scale are not where they start."""
    layer = HyperbolicBatchNorm(DIM, manifold=kind(c), **options).double()
    if layer.affine:
        with torch.no_grad():
            layer.weight.fill_(0.8)
            layer.bias.copy_(points(layer.manifold, 1, DIM, radius=0.7, seed=9)[0])
    return layer


def minkowski(a, b):
    return -a[0] * b[0] + sum(p * q for p, q in zip(a[1:], b[1:], strict=True))


def combine(a, x, b, y):
    return [a * p + b * q for p, q in zip(x, y, strict=True)]


def log(x, y, c):
    alpha = -c * minkowski(x, y)
    if alpha <= 1.0:
        return [0.0] * len(x)
    return [math.acosh(alpha) / math.sqrt(alpha**2 - 1.0) * t for t in combine(1.0, y, -alpha, x)]


def exp(x, v, c):
    r = math.sqrt(c) * math.sqrt(minkowski(v, v))
    return combine(math.cosh(r), x, math.sinh(r) / r, v)


def transport(x, y, v, c):
    return combine(1.0, v, minkowski(y, v) / (1.0 / c - minkowski(x, y)), combine(1.0, x, 1.0, y))


def slow_mean(rows, c):
    s = [sum(column) for column in zip(*rows, strict=True)]
    return [t / math.sqrt(-c * minkowski(s, s)) for t in s]


def slow_variance(rows, mean, c):
    return sum(math.acosh(-c * minkowski(mean, x)) ** 2 / c for x in rows) / len(rows)


def slow_norm(rows, mean, var, gamma, beta, eps, c):
    """The formula of the layer on Lorentz points, number by number."""
    o = [1.0 / math.sqrt(c)] + [0.0] * (len(beta) - 1)
    result = []
    for x in rows:
        v = transport(mean, o, log(mean, x, c), c)
        v = [gamma / math.sqrt(var + eps) * t for t in v]
        result.append(exp(beta, transport(o, beta, v, c), c))
    return torch.tensor(result, dtype=torch.float64)


def on_hyperboloid(x, manifold):
    return x if isinstance(manifold, Lorentz) else poincare_to_lorentz(x, manifold.c)


@pytest.mark.parametrize("c", CURVATURES)
@every_manifold
def test_training_and_evaluation_are_the_formula_number_by_number(kind, c):
    layer = make(kind, c, eps=1e-3, momentum=0.3)
    x = batch(layer.manifold)
    rows = on_hyperboloid(x, layer.manifold).tolist()
    beta = on_hyperboloid(layer.bias.detach(), layer.manifold).tolist()
    mean = slow_mean(rows, c)
    var = slow_variance(rows, mean, c)
    found = on_hyperboloid(layer(x), layer.manifold)
    torch.testing.assert_close(found, slow_norm(rows, mean, var, 0.8, beta, 1e-3, c), rtol=1e-10, atol=1e-10)

    o = [1.0 / math.sqrt(c)] + [0.0] * DIM
    running_mean = exp(o, [0.3 * t for t in log(o, mean, c)], c)
    running_var = 0.7 + 0.3 * var * ROWS / (ROWS - 1)
    x = batch(layer.manifold, seed=5)
    found = on_hyperboloid(layer.eval()(x), layer.manifold)
    rows = on_hyperboloid(x, layer.manifold).tolist()
    expected = slow_norm(rows, running_mean, running_var, 0.8, beta, 1e-3, c)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_both_models_hold_the_same_layer():
    lorentz, ball = make(Lorentz), make(PoincareBall)
    c = lorentz.manifold.c
    with torch.no_grad():
        ball.bias.copy_(lorentz_to_poincare(lorentz.bias, c))
    x = batch(lorentz.manifold)
    torch.testing.assert_close(ball(lorentz_to_poincare(x, c)), lorentz_to_poincare(lorentz(x), c))
    torch.testing.assert_close(ball.running_mean, lorentz_to_poincare(lorentz.running_mean, c))
    torch.testing.assert_close(ball.running_var, lorentz.running_var)


@pytest.mark.parametrize("c", CURVATURES)
@every_manifold
def test_without_parameters_the_mean_square_distance_from_the_origin_is_one(kind, c):
    layer = make(kind, c, affine=False, eps=0.0)
    assert not list(layer.parameters())
    y = layer(batch(layer.manifold))
    torch.testing.assert_close(layer.manifold.dist0(y).square().mean().item(), 1.0)


@every_manifold
def test_the_learned_centre_and_scale_are_those_of_the_outputs(kind):
    layer = make(kind, eps=0.0)
    y = layer(batch(layer.manifold))
    torch.testing.assert_close(layer.manifold.dist(layer.bias, y).square().mean().sqrt().item(), 0.8)


@every_manifold
def test_an_isometry_of_the_inputs_turns_the_outputs_about_their_centre(kind):
    layer = make(kind)
    x = batch(layer.manifold)
    y, moved = layer(x), layer(isometry(layer.manifold, seed=3)(x))
    assert (layer.manifold.dist(y, moved) > 0.05).any()
    manifold = layer.manifold
    torch.testing.assert_close(manifold.dist(y, layer.bias), manifold.dist(moved, layer.bias))
    pairs = [(i, j) for i in range(ROWS) for j in range(i)]
    i, j = torch.tensor(pairs).t()
    torch.testing.assert_close(manifold.dist(y[i], y[j]), manifold.dist(moved[i], moved[j]))


@every_manifold
def test_a_constant_batch_goes_to_the_centre_with_finite_gradients(kind):
    layer = make(kind)
    for radius in (0.0, 1.0):
        x = points(layer.manifold, 1, DIM, radius=radius).expand(4, -1).clone().requires_grad_()
        y = layer(x)
        torch.testing.assert_close(y, layer.bias.detach().as_subclass(torch.Tensor).expand_as(y))
        grads = torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))
        assert all(grad.isfinite().all() for grad in grads)


@every_manifold
def test_all_axes_but_the_last_are_the_batch(kind):
    layer = make(kind)
    x = batch(layer.manifold)
    torch.testing.assert_close(layer(x.unflatten(0, (2, 3))), layer(x).unflatten(0, (2, 3)))


@every_manifold
def test_the_running_mean_goes_part_of_the_way_to_that_of_a_batch(kind):
    layer = make(kind, momentum=0.3)
    manifold = layer.manifold
    layer(batch(manifold))
    before, x = layer.running_mean.clone(), batch(manifold, seed=5)
    mean = manifold.midpoint(x)
    layer(x)
    way = manifold.dist(before, mean)
    assert way > 0.1
    torch.testing.assert_close(manifold.dist(before, layer.running_mean), 0.3 * way)
    torch.testing.assert_close(manifold.dist(layer.running_mean, mean), 0.7 * way)
    assert layer.num_batches_tracked == 2


@every_manifold
def test_without_momentum_the_running_variance_is_the_mean_over_batches(kind):
    layer = make(kind, momentum=None)
    manifold = layer.manifold
    variances = []
    for seed in (0, 5, 7):
        x = batch(manifold, seed=seed)
        layer(x)
        variances.append(manifold.dist2(manifold.midpoint(x), x).sum() / (ROWS - 1))
        if seed == 0:
            torch.testing.assert_close(layer.running_mean, manifold.midpoint(x))
    torch.testing.assert_close(layer.running_var, torch.stack(variances).mean())


@every_manifold
def test_evaluation_changes_no_statistics_and_needs_no_second_row(kind):
    layer = make(kind)
    layer(batch(layer.manifold))
    layer.eval()
    state = copy.deepcopy(layer.state_dict())
    x = batch(layer.manifold, seed=5)
    torch.testing.assert_close(layer(x[:1]), layer(x)[:1])
    torch.testing.assert_close(layer(x[0]), layer(x)[0])
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, state[name])


@every_manifold
def test_without_running_statistics_evaluation_uses_those_of_the_batch(kind):
    layer = make(kind, track_running_stats=False)
    x = batch(layer.manifold)
    expected = layer(x)
    torch.testing.assert_close(layer.eval()(x), expected, rtol=0.0, atol=0.0)
    assert set(dict(layer.named_buffers())) == {"manifold.fixed_c"}


@every_manifold
def test_resetting_gives_the_layer_that_was_built(kind):
    layer, fresh = make(kind), HyperbolicBatchNorm(DIM, manifold=kind(0.75)).double()
    layer(batch(layer.manifold))
    layer.reset_parameters()
    for name, tensor in fresh.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], tensor, msg=name)


@every_manifold
def test_the_centre_learns_on_its_manifold_beside_a_learned_curvature(kind):
    layer = HyperbolicBatchNorm(DIM, manifold=kind(0.75, learnable=True))
    x = batch(kind(0.75), dtype=torch.float32)
    target = points(kind(0.75), ROWS, DIM, radius=0.5, seed=4, dtype=torch.float32)
    optimizer = geoopt.optim.RiemannianAdam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = layer.manifold.dist2(layer(x), layer.manifold.projx(target)).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert layer.bias.manifold is layer.manifold
    assert layer.weight != 1.0
    assert (layer.bias[-DIM:] != 0.0).all()


@every_manifold
def test_far_out_float32_suffices(kind):
    layer = HyperbolicBatchNorm(DIM, manifold=kind(0.75))
    x = points(layer.manifold, 50, DIM, radius=7.0, dtype=torch.float32)
    double = copy.deepcopy(layer).double()
    wide = double.manifold.from_space(x[..., 1:].double()) if kind is Lorentz else x.double()
    y, expected = layer(x), double(wide)
    assert ((y - expected).norm(dim=-1) < 1e-3 * expected.norm(dim=-1)).all()


@every_manifold
def test_it_is_built_on_the_meta_device(kind):
    manifold = kind(0.75).to("meta")
    with torch.device("meta"):
        layer = HyperbolicBatchNorm(DIM, manifold=manifold)
    assert all(t.is_meta for t in (*layer.parameters(), *layer.buffers()))
    assert isinstance(layer.bias, geoopt.ManifoldParameter)
    source = HyperbolicBatchNorm(DIM, manifold=kind(0.75))
    layer.load_state_dict(source.state_dict(), assign=True)
    assert layer.bias.manifold is layer.manifold
    x = batch(source.manifold, dtype=torch.float32)
    torch.testing.assert_close(layer(x), source(x))


def test_options_are_those_of_torch():
    layer, flat = HyperbolicBatchNorm(DIM, momentum=None), nn.BatchNorm1d(DIM, momentum=None)
    assert "3, eps=1e-05, momentum=None, affine=True, track_running_stats=True" in repr(layer)
    assert set(flat.state_dict()) | {"manifold.fixed_c"} == set(layer.state_dict())


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`num_features` must be at least 1, got 0"):
        HyperbolicBatchNorm(0)
    with pytest.raises(ValueError, match=r"`momentum` must be at least 0 and at most 1, or None, got 1\.5"):
        HyperbolicBatchNorm(3, momentum=1.5)
    layer = HyperbolicBatchNorm(3, manifold=Lorentz())
    with pytest.raises(ValueError, match=r"num_features \+ 1 = 4 columns, got shape \(5, 3\)"):
        layer(torch.zeros(5, 3))
    for shape in ((4,), (1, 4), (0, 4)):
        with pytest.raises(ValueError, match="`x` must have more than one row"):
            layer(torch.zeros(shape))
