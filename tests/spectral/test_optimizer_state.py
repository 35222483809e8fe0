"""What optimizers remember of the vectors, and the sphere that the vectors stay on."""

from __future__ import annotations

import copy

import pytest
import torch
from spectral_cases import ON_SPHERE, OPTIMIZERS, batch, build_optimizer, small_model, train, trained
from torch import Tensor

from hypersst.spectral import Never, SSTSampler, spectral_weights
from hypersst.spectral.optimizer_state import clear_state

NAMES = tuple(OPTIMIZERS)
# Where the state begins: at zero but for these two, and Rprop's is made anew.
STARTS = {"nadam": {"mu_product": 1.0}, "adagrad": {"sum": 0.1}}


def vectors(model):
    return [p for w in spectral_weights(model) for p in (w.spectral.u_active, w.spectral.v_active)]


def sigmas(model):
    return [w.sigma for w in spectral_weights(model)]


def assert_at_its_beginning(state, name):
    for key, value in state.items():
        expected = STARTS.get(name, {}).get(key, 0.0)
        value = value if isinstance(value, Tensor) else torch.tensor(float(value))
        assert (value == expected).all(), key


@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_newly_active_vectors_is_zero_after_a_draw(name):
    model, optimizer, _ = trained(name, steps=2)  # a draw comes after step 3
    before = {p: copy.deepcopy(optimizer.state[p]) for p in vectors(model)}
    assert all(any(bool(torch.as_tensor(v).any()) for v in state.values()) for state in before.values())
    train(model, optimizer, range(2, 3))
    for parameter in (*vectors(model), *sigmas(model)):
        state = optimizer.state[parameter]
        assert name == "rprop" or state.keys() == optimizer.state[vectors(model)[0]].keys()
        assert_at_its_beginning(state, name)


@pytest.mark.parametrize("name", NAMES)
def test_other_parameters_keep_their_state_at_a_draw(name):
    model, optimizer, _ = trained(name, steps=2)
    bias = model[0].bias
    before = copy.deepcopy(optimizer.state[bias])
    train(model, optimizer, range(2, 3))
    moments = [key for key in before if key not in ("step", "mu_product")]
    assert any(bool(torch.as_tensor(optimizer.state[bias][key]).any()) for key in moments)


@pytest.mark.parametrize("name", ["adamw", "riemannian-adam"])
def test_singular_values_keep_their_state_if_asked_to_but_not_through_a_decomposition(name):
    model, optimizer, _ = trained(name, steps=3, reset_sigma=False)
    assert all(optimizer.state[s]["exp_avg"].any() for s in sigmas(model))
    assert not any(optimizer.state[p]["exp_avg"].any() for p in vectors(model))
    train(model, optimizer, range(3, 9))  # a round of ⌈6/2⌉ or ⌈5/2⌉ iterations of 3 steps has ended
    assert not any(optimizer.state[s]["exp_avg"].any() for s in sigmas(model))


# geoopt's SGD begins its momentum with the ambient gradient and adds the tangent one: it counts the first twice.
@pytest.mark.parametrize("name", [n for n in NAMES if n != "riemannian-sgd"])
def test_the_step_after_a_draw_is_the_first_step_of_a_new_optimizer(name):
    model, optimizer, sampler = trained(name, steps=3)
    other = copy.deepcopy(model)
    train(model, optimizer, range(3, 4))
    sampler.detach()
    train(other, build_optimizer(name, other), range(3, 4))
    for after_draw, fresh, active in zip(
        (*vectors(model), *sigmas(model)), (*vectors(other), *sigmas(other)), range(99), strict=False
    ):
        normalized = fresh if active >= 4 or name in ON_SPHERE else fresh / fresh.norm(dim=1, keepdim=True)
        expected = normalized if active < 4 else fresh.clamp(min=0.0)
        torch.testing.assert_close(after_draw.detach().as_subclass(Tensor), expected.detach().as_subclass(Tensor))


@pytest.mark.parametrize("name", NAMES)
def test_every_row_stays_on_the_sphere_and_every_value_non_negative_for_500_steps(name):
    model, optimizer, sampler = trained(name, steps=0, steps_per_iteration=20, warmup_steps=3)
    for step in range(500):
        train(model, optimizer, range(step, step + 1))
        for weight in spectral_weights(model):
            p = weight.spectral
            for rows in p.rows:  # active ones included: they are written back
                assert (rows.detach().double().norm(dim=1) - 1).abs().max() < 1e-6
            assert (weight.sigma >= 0).all()
    assert sampler.step_count == 500
    x, target = batch(0)
    assert (model(x) - target).square().mean() < 0.5  # it is training, not just normalising


def test_singular_values_are_clamped_at_zero_and_can_rise_again():
    model = small_model()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    SSTSampler(model, optimizer, warmup_steps=0, decomposition=Never())
    [sigma, _] = sigmas(model)
    sigma.grad = torch.full_like(sigma, 100.0)
    optimizer.step()
    assert (sigma == 0).all()
    sigma.grad = torch.full_like(sigma, -2.0)
    optimizer.step()
    assert (sigma == 2.0).all()


@pytest.mark.parametrize("name", NAMES)
def test_state_is_cleared_in_place(name):
    # A captured graph holds on to the tensors of the state.
    model, optimizer, _ = trained(name, steps=2)
    parameter = vectors(model)[0]
    before = {key: value for key, value in optimizer.state[parameter].items() if isinstance(value, Tensor)}
    clear_state(optimizer, parameter)
    if name == "rprop":
        assert not optimizer.state[parameter]
        return
    for key, value in before.items():
        assert optimizer.state[parameter][key] is value


def test_clearing_leaves_alone_what_has_no_state_yet():
    model = small_model()
    optimizer = build_optimizer("adamw", model)
    clear_state(optimizer, vectors(model)[0])
    assert len(optimizer.state) == 0


def test_a_buffer_that_was_never_made_stays_so():
    model, optimizer, _ = trained("sgd-momentum", steps=2)
    parameter = vectors(model)[0]
    optimizer.state[parameter]["momentum_buffer"] = None
    clear_state(optimizer, parameter)
    assert optimizer.state[parameter]["momentum_buffer"] is None
