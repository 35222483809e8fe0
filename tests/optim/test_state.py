"""What the optimizers remember: in place, through checkpoints, and of parameters that come and go."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from optim_cases import assert_close, assert_equal, give_gradients, mixture, parameters, run, twins, values

from hypersst.optim import RiemannianAdam, RiemannianAdamW, RiemannianSGD
from hypersst.spectral.optimizer_state import clear_state

KINDS = {
    "adam": lambda params: RiemannianAdam(params, lr=0.05),
    "amsgrad": lambda params: RiemannianAdamW(params, lr=0.05, amsgrad=True),
    "captured": lambda params: RiemannianAdam(params, lr=torch.tensor(0.05), capturable=True),
    "single": lambda params: RiemannianAdam(params, lr=0.05, foreach=False),
    "momentum": lambda params: RiemannianSGD(params, lr=0.02, momentum=0.9, dampening=0.2),
    "stabilized": lambda params: RiemannianSGD(params, lr=0.02, momentum=0.9, stabilize=4),
}


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KINDS)
def test_ten_steps_are_five_saved_loaded_and_five_more_bit_for_bit(name, dtype):
    unbroken = mixture(dtype)
    optimizer = KINDS[name](unbroken)
    run(optimizer, unbroken, 5)
    state, numbers = through_a_file(optimizer.state_dict()), values(unbroken)
    run(optimizer, unbroken, range(5, 10))
    resumed = mixture(dtype)
    for p, value in zip(resumed, numbers, strict=True):
        p.data.copy_(value)
    second = KINDS[name](resumed)
    second.load_state_dict(state)
    run(second, resumed, range(5, 10))
    assert_equal(resumed, unbroken)


@pytest.mark.parametrize("name", KINDS)
def test_loading_copies_the_state(name):
    params, others = twins(mixture())
    optimizer, second = KINDS[name](params), KINDS[name](others)
    run(optimizer, params, 2)
    state = optimizer.state_dict()
    before = copy.deepcopy(state["state"])
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p)
    second.load_state_dict(state)
    run(second, others, 3)
    torch.testing.assert_close(state["state"], before, rtol=0, atol=0)


@pytest.mark.parametrize("name", KINDS)
def test_a_deep_copy_goes_the_same_way_on_its_own(name):
    params = mixture()
    optimizer = KINDS[name](params)
    run(optimizer, params, 3)
    replica = copy.deepcopy(optimizer)
    others = replica.param_groups[0]["params"]
    run(replica, others, range(3, 6))
    run(optimizer, params, range(3, 6))
    assert_equal(others, params)
    assert all(p is not q for p, q in zip(params, others, strict=True))
    replica.add_param_group({"params": parameters("sphere")})


@pytest.mark.parametrize("name", KINDS)
def test_state_is_cleared_in_place_and_steps_begin_anew(name):
    params, others = twins(mixture())
    optimizer, other = KINDS[name](params), KINDS[name](others)
    run(optimizer, params, 3)
    before = {id(p): dict(optimizer.state[p]) for p in params}
    for p in params:
        clear_state(optimizer, p)
        for entry, old in before[id(p)].items():
            current = optimizer.state[p][entry]
            assert not torch.as_tensor(current).any(), entry
            assert current is old or not isinstance(current, torch.Tensor), entry
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p)
    if name == "momentum":  # the first gradient of all is not dampened, that after clearing is, as in torch
        other.param_groups[0]["dampening"] = optimizer.param_groups[0]["dampening"] = 0.0
    if name == "stabilized":
        other.param_groups[0]["step"] = 3
    run(optimizer, params, range(3, 6))
    run(other, others, range(3, 6))
    assert_close(params, others)


def test_points_of_one_stack_may_count_differently():
    params, others = twins(parameters("ball", shapes=[(4, 3)] * 3))
    optimizer = RiemannianAdam(params, lr=0.05)
    alone = [RiemannianAdam([p], lr=0.05) for p in others]
    run(optimizer, params, 3)
    for one, _ in zip(alone, others, strict=True):
        for step in range(3):
            give_gradients(others, step)
            one.step()
    clear_state(optimizer, params[1])
    clear_state(alone[1], others[1])
    for step in range(3, 6):
        give_gradients(params, step)
        give_gradients(others, step)
        optimizer.step()
        for one in alone:
            one.step()
    assert [optimizer.state[p]["step"] for p in params] == [6, 3, 6]
    assert_close(params, others)


@pytest.mark.parametrize("name", KINDS)
def test_state_that_was_replaced_or_dropped_is_what_the_next_step_reads(name):
    params, others = twins(mixture())
    optimizer, other = KINDS[name](params), KINDS[name](others)
    run(optimizer, params, 3)
    run(other, others, 3)
    for p, q in zip(params, others, strict=True):
        optimizer.state[p] = {key: copy.deepcopy(entry) for key, entry in optimizer.state[p].items()}
        for key, entry in optimizer.state[p].items():
            if isinstance(entry, torch.Tensor) and key != "step":
                optimizer.state[p][key] = 0.5 * entry
                other.state[q][key].mul_(0.5)
    run(optimizer, params, range(3, 5))
    run(other, others, range(3, 5))
    assert_close(params, others)
    optimizer.state.clear()
    for p in others:
        clear_state(other, p)
    for group in (*optimizer.param_groups, *other.param_groups):
        group["dampening"] = 0.0
    run(optimizer, params, range(5, 7))
    run(other, others, range(5, 7))
    assert_close(params, others)


def test_parameters_and_groups_that_come_later_are_stepped():
    params, others = twins(mixture())
    half = len(params) // 2
    optimizer = RiemannianAdam(params[:half], lr=0.05)
    run(optimizer, params, 2)
    assert_equal(params[half:], others[half:])
    optimizer.add_param_group({"params": params[half:-1], "lr": 0.1})
    optimizer.param_groups[0]["params"].append(params[-1])
    state = {p: optimizer.state[p]["step"] for p in params[:half]}
    run(optimizer, params, range(2, 4))
    assert all(optimizer.state[p]["step"] == count + 2 for p, count in state.items())
    fresh = RiemannianAdam(
        [{"params": others[:half] + others[-1:], "lr": 0.05}, {"params": others[half:-1], "lr": 0.1}]
    )
    for step in range(4):
        give_gradients(others, step)
        if step < 2:
            for p in others[half:]:
                p.grad = None
        fresh.step()
    assert_close(params, others)


def test_a_parameter_that_takes_the_place_of_another_is_stepped_in_its_place():
    params = parameters("sphere", shapes=[(4, 3)] * 3)
    optimizer = RiemannianAdam(params[:2], lr=0.05)
    run(optimizer, params, 2)
    before = values(params)
    optimizer.param_groups[0]["params"][1] = params[2]
    run(optimizer, params, range(2, 3))
    assert_equal(params[1:2], before[1:2])
    assert optimizer.state[params[2]]["step"] == 1
    assert not torch.equal(values(params)[2], before[2])


@pytest.mark.parametrize("name", KINDS)
def test_without_gradients_nothing_moves_and_nothing_is_remembered(name):
    params = mixture()
    before = values(params)
    optimizer = KINDS[name](params)
    optimizer.step()
    assert_equal(params, before)
    assert not optimizer.state
    run(optimizer, params, 1)
    optimizer.zero_grad()
    before, state = values(params), copy.deepcopy(optimizer.state_dict()["state"])
    optimizer.step()
    assert_equal(params, before)
    torch.testing.assert_close(optimizer.state_dict()["state"], state, rtol=0, atol=0)


def test_options_that_change_later_change_the_next_step():
    params, others = twins(mixture())
    optimizer = RiemannianAdam(params, lr=0.05)
    run(optimizer, params, 2)
    optimizer.param_groups[0].update(amsgrad=True, foreach=False, capturable=True)
    run(optimizer, params, range(2, 5))
    assert all("max_exp_avg_sq" in optimizer.state[p] for p in params)
    other = RiemannianAdam(others, lr=0.05)
    run(other, others, 2)
    other.param_groups[0]["amsgrad"] = True
    run(other, others, range(2, 5))
    assert_close(params, others)


def test_second_moments_are_one_number_per_point():
    shapes = {"sphere": (4, 1), "lorentz": (4, 1), "ball": (4, 1), "stiefel": (1, 1), "flat": (4, 3)}
    for name, shape in shapes.items():
        params = parameters(name, shapes=[(4, 3)])
        optimizer = RiemannianAdam(params)
        run(optimizer, params, 1)
        assert optimizer.state[params[0]]["exp_avg_sq"].shape == shape
        assert optimizer.state[params[0]]["exp_avg"].shape == (4, 3)


@pytest.mark.parametrize("name", ["flat", "sphere"])
def test_states_that_do_not_fit_are_refused(name):
    params = parameters(name, shapes=[(4, 3)])
    optimizer = RiemannianAdam(params)
    run(optimizer, params, 1)
    optimizer.state[params[0]]["exp_avg_sq"] = torch.ones(5, 3)
    with pytest.raises(
        ValueError, match=r"`state` must fit its parameter, but 'exp_avg_sq' has shape \(5, 3\) instead"
    ):
        run(optimizer, params, 1)


def test_the_state_of_an_element_wise_optimizer_is_refused_for_points():
    params = parameters("sphere", shapes=[(4, 3)])
    other = torch.optim.Adam(params)
    run(other, params, 1)
    optimizer = RiemannianAdam(params)
    optimizer.load_state_dict(other.state_dict())
    with pytest.raises(
        ValueError, match="`state` must hold one number per point in 'exp_avg_sq', got one per coordinate"
    ):
        run(optimizer, params, 1)
