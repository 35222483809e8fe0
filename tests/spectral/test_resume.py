"""Training, saving, loading and training on equals training, bit for bit."""

from __future__ import annotations

import io
import itertools

import pytest
import torch
from spectral_cases import build_optimizer, small_model, train
from torch import Tensor

from hypersst.spectral import EveryIterations, Multinomial, OnDefect, Sequential, SSTSampler, Uniform

PARTS = ("model", "optimizer", "sampler")
# Iterations of three steps; the layers of six and five singular values have rounds of three iterations. So 3 is a draw,
# 9 a decomposition and a draw; each with the steps before and after it.
CUTS = (1, 2, 3, 4, 8, 9, 10)


def build(name, seed=0, settings=None, execution="auto"):
    model = small_model(seed=seed, execution=execution)
    optimizer = build_optimizer(name, model)
    sampler = SSTSampler(
        model, optimizer, **{"steps_per_iteration": 3, "warmup_steps": 2, "seed": 11} | (settings or {})
    )
    return {"model": model, "optimizer": optimizer, "sampler": sampler}


def saved(parts):
    buffer = io.BytesIO()
    torch.save({name: part.state_dict() for name, part in parts.items()}, buffer)
    return buffer.getvalue()


def loaded(data):
    return torch.load(io.BytesIO(data), weights_only=True)


def flat(value, path=""):
    """Leaves of nested states, by path."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{path}/{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for key, item in enumerate(value) for k, v in flat(item, f"{path}/{key}").items()}
    return {path: value}


def assert_identical(one, other):
    a, b = flat(loaded(saved(one))), flat(loaded(saved(other)))
    assert a.keys() == b.keys()
    for path, value in a.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, b[path]), path
            assert value.dtype == b[path].dtype, path
        else:
            assert value == b[path], path


def unbroken(name, steps, **options):
    parts = build(name, **options)
    train(parts["model"], parts["optimizer"], range(steps))
    return parts


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["adamw", "riemannian-adam", "sgd-momentum", "riemannian-sgd", "nadam"])
def test_a_resumed_run_equals_the_unbroken_one(name, cut):
    reference = unbroken(name, cut + 5)
    data = loaded(saved(unbroken(name, cut)))
    parts = build(name, seed=99, settings={"seed": 0})  # another start and another seed, both overwritten
    for part in PARTS:
        parts[part].load_state_dict(data[part])
    train(parts["model"], parts["optimizer"], range(cut, cut + 5))
    assert_identical(parts, reference)


@pytest.mark.parametrize("order", list(itertools.permutations(PARTS)), ids="-".join)
@pytest.mark.parametrize("name", ["adamw", "riemannian-adam"])
def test_model_optimizer_and_sampler_load_in_any_order(name, order):
    for cut in (3, 5):
        data = loaded(saved(unbroken(name, cut)))
        parts = build(name, seed=99)
        for part in order:
            parts[part].load_state_dict(data[part])
        train(parts["model"], parts["optimizer"], range(cut, cut + 5))
        assert_identical(parts, unbroken(name, cut + 5))


@pytest.mark.parametrize("name", ["adamw", "riemannian-adam"])
def test_a_sampler_may_be_made_after_model_and_optimizer_are_loaded(name):
    cut = 5
    data = loaded(saved(unbroken(name, cut)))
    model = small_model(seed=99)
    model.load_state_dict(data["model"])
    optimizer = build_optimizer(name, model)
    optimizer.load_state_dict(data["optimizer"])
    sampler = SSTSampler(model, optimizer, steps_per_iteration=3, warmup_steps=2)
    sampler.load_state_dict(data["sampler"])
    train(model, optimizer, range(cut, cut + 5))
    assert_identical({"model": model, "optimizer": optimizer, "sampler": sampler}, unbroken(name, cut + 5))


@pytest.mark.parametrize(
    "settings",
    [
        {"selection": Uniform(), "reset_sigma": False},
        {"selection": Sequential(), "decomposition": EveryIterations()},
        {"selection": Multinomial(1.0), "decomposition": OnDefect(0.01)},
        {"stagger": 2},
        {"iterations_per_round": 2, "warmup_steps": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("cut", [4, 6, 7])
def test_resuming_is_exact_whatever_the_settings(cut, settings):
    reference = unbroken("adamw", cut + 5, settings=settings)
    parts = build("adamw", seed=99, settings=settings)
    data = loaded(saved(unbroken("adamw", cut, settings=settings)))
    for part in PARTS:
        parts[part].load_state_dict(data[part])
    train(parts["model"], parts["optimizer"], range(cut, cut + 5))
    assert_identical(parts, reference)


def test_resuming_is_exact_for_factored_products():
    reference = unbroken("adamw", 10, execution="factored")
    parts = build("adamw", seed=99, execution="factored")
    data = loaded(saved(unbroken("adamw", 5, execution="factored")))
    for part in PARTS:
        parts[part].load_state_dict(data[part])
    train(parts["model"], parts["optimizer"], range(5, 10))
    assert_identical(parts, reference)


def test_the_comparison_notices_a_sampler_that_was_not_loaded():
    data = loaded(saved(unbroken("adamw", 4)))
    parts = build("adamw", seed=99)
    for part in ("model", "optimizer"):
        parts[part].load_state_dict(data[part])
    train(parts["model"], parts["optimizer"], range(4, 9))
    with pytest.raises(AssertionError):
        assert_identical(parts, unbroken("adamw", 9))


def test_evaluating_between_steps_changes_nothing():
    reference = unbroken("riemannian-adam", 10)
    parts = build("riemannian-adam")
    for step in range(10):
        train(parts["model"], parts["optimizer"], range(step, step + 1))
        parts["model"].eval()
        with torch.no_grad():
            parts["model"](torch.randn(3, 8))
        parts["model"].train()
        parts["sampler"].telemetry()
    assert_identical(parts, reference)
