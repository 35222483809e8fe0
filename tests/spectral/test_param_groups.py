"""Which numbers decay, and what a learning rate of a vector means."""

from __future__ import annotations

import math

import geoopt
import pytest
import torch
from spectral_cases import small_model
from torch import nn

import hypersst
from hypersst.spectral import param_groups, spectral_weights


def everything():
    torch.manual_seed(0)
    model = nn.Module()
    model.spectral = nn.Linear(9, 6)
    model.wide = nn.Linear(16, 4)
    model.embed = nn.Embedding(5, 3)
    model.points = geoopt.ManifoldParameter(torch.eye(2, 3), manifold=geoopt.Sphere())
    model.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)
    hypersst.spectralize(model, rank=2)
    return model


def by_role(groups):
    return {group["role"]: group for group in groups}


def test_every_trainable_parameter_is_in_one_group_by_its_role():
    model = everything()
    groups = param_groups(model, lr=0.1, weight_decay=0.3)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    roles = by_role(groups)
    assert list(roles) == ["weights", "scalars", "points", "sigma", "vectors"]
    assert [id(p) for p in roles["weights"]["params"]] == [id(model.embed.weight)]
    assert {id(p) for p in roles["scalars"]["params"]} == {id(model.spectral.bias), id(model.wide.bias)}
    assert [id(p) for p in roles["points"]["params"]] == [id(model.points)]
    assert {id(p) for p in roles["sigma"]["params"]} == {id(w.sigma) for w in spectral_weights(model)}
    assert len(roles["vectors"]["params"]) == 4
    decays = {role: group["weight_decay"] for role, group in roles.items()}
    assert decays == {"weights": 0.3, "scalars": 0.0, "points": 0.0, "sigma": 0.3, "vectors": 0.0}
    assert all(group["lr"] == 0.1 for group in groups)


def test_roles_may_have_rates_of_their_own():
    roles = by_role(param_groups(everything(), lr=0.1, vector_lr=0.02, sigma_lr=0.0))
    rates = {role: group["lr"] for role, group in roles.items()}
    assert rates == {"weights": 0.1, "scalars": 0.1, "points": 0.1, "sigma": 0.0, "vectors": 0.02}


def test_a_plain_model_has_no_spectral_groups():
    assert [g["role"] for g in param_groups(nn.Linear(3, 2), lr=0.1)] == ["weights", "scalars"]


ROW, ELEMENT = geoopt.optim.RiemannianAdam, torch.optim.AdamW


@pytest.mark.parametrize(
    ("unit", "optimizer", "vectors", "factor"),
    [
        ("radians", ROW, "sphere", lambda n: 1.0),
        ("radians", ELEMENT, "sphere", lambda n: 1 / math.sqrt(n)),
        ("elements", ELEMENT, "sphere", lambda n: 1.0),
        ("elements", ROW, "sphere", lambda n: math.sqrt(n)),
        # geoopt's Adam on a plain parameter is element-wise.
        ("radians", ROW, "ambient", lambda n: 1 / math.sqrt(n)),
        ("elements", ROW, "ambient", lambda n: 1.0),
        ("optimizer", None, "sphere", lambda n: 1.0),
    ],
)
def test_units_are_converted_for_the_optimizer_by_length_of_row(unit, optimizer, vectors, factor):
    model = small_model(vectors=vectors)  # rows of 6, 8, 5 and 6 entries
    groups = param_groups(model, lr=0.1, vector_lr=0.02, unit=unit, optimizer=optimizer)
    seen = [p for g in groups if g["role"] == "vectors" for p in g["params"]]
    assert len(seen) == 4
    for group in groups:
        if group["role"] == "vectors":
            for parameter in group["params"]:
                assert group["lr"] == pytest.approx(0.02 * factor(parameter.shape[1]))


@pytest.mark.parametrize(
    ("optimizer", "vectors", "reading"),
    [(ROW, "sphere", "radians per step"), (ROW, "ambient", "per element"), (ELEMENT, "sphere", "per element")],
)
def test_the_reading_of_the_rate_is_stated(optimizer, vectors, reading):
    groups = param_groups(small_model(vectors=vectors), lr=0.1, optimizer=optimizer)
    assert by_role(groups)["vectors"]["reading"] == reading
    assert "radians per step with geoopt" in by_role(param_groups(small_model(), lr=0.1))["vectors"]["reading"]


@pytest.mark.parametrize("kind", [ROW, ELEMENT])
def test_a_rate_in_radians_is_the_angle_of_the_first_step(kind):
    # Adam's first step has the size of the rate: along the row on the sphere, in every entry elsewhere.
    model = nn.Sequential(nn.Linear(400, 300))
    hypersst.spectralize(model, rank=5)
    angle = 0.05
    [weight] = spectral_weights(model)
    optimizer = kind(param_groups(model, lr=0.0, vector_lr=angle, unit="radians", optimizer=kind))
    before = [p.detach().clone() for p in (weight.spectral.u_active, weight.spectral.v_active)]
    # A gradient of random direction: that of a norm would point along the rows themselves.
    (model(torch.randn(64, 400)) * torch.randn(64, 300)).sum().backward()
    optimizer.step()
    for old, new in zip(before, (weight.spectral.u_active, weight.spectral.v_active), strict=True):
        chord = (new / new.norm(dim=1, keepdim=True) - old).norm(dim=1)
        # To second order in the angle; and element by element a share of about 1/n of the step is along the row.
        torch.testing.assert_close(2 * (chord / 2).asin(), torch.full((5,), angle), rtol=0.01, atol=0)


def test_decoupled_decay_of_the_values_is_decoupled_decay_of_the_weight():
    torch.manual_seed(0)
    dense = nn.Linear(8, 6).double()
    start = dense.weight.detach().clone()
    model = nn.Sequential(nn.Linear(8, 6).double())
    model.load_state_dict({f"0.{k}": v for k, v in dense.state_dict().items()})
    hypersst.spectralize(model, rank=2)
    theirs = torch.optim.AdamW([{"params": [dense.weight], "weight_decay": 0.2}], lr=0.1)
    ours = torch.optim.AdamW(param_groups(model, lr=0.1, weight_decay=0.2))
    hypersst.SSTSampler(model, ours, steps_per_iteration=2, warmup_steps=0)
    for _ in range(7):
        for parameter in (*model.parameters(), dense.weight):
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        ours.step()
        theirs.step()
        torch.testing.assert_close(model[0].weight, dense.weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(dense.weight, start * 0.98**7)  # it did decay


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, r"`lr` must not be negative, got -1\.0"),
        ({"lr": float("nan")}, "`lr` must not be negative, got nan"),
        ({"lr": 0.1, "weight_decay": -0.1}, r"`weight_decay` must not be negative, got -0\.1"),
        ({"lr": 0.1, "vector_lr": -0.1}, "`vector_lr` must not be negative"),
        ({"lr": 0.1, "sigma_lr": -0.1}, "`sigma_lr` must not be negative"),
        ({"lr": 0.1, "unit": "degrees"}, "`unit` must be one of optimizer, radians, elements, got 'degrees'"),
        ({"lr": 0.1, "unit": "radians"}, "`unit` 'radians' is converted .* give its class as `optimizer`"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        param_groups(small_model(), **options)
