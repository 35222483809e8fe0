"""The sampler and optimizers where `fully_shard` shares out the weights."""

from typing import Any

import pytest
import torch
from distributed_cases import (
    WAYS,
    needs_sharding,
    refuse_sharded,
    resume_sharded,
    spawn,
    train_sharded,
    train_unbroken,
    train_with,
)

import hypersst

pytestmark = needs_sharding


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes have after training together."""
    folder = tmp_path_factory.mktemp("sharded")
    assert spawn(train_sharded, 2, folder) == [0, 0]
    return [torch.load(folder / f"sharded-{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Errors by what was tried, the same in both processes."""
    folder = tmp_path_factory.mktemp("errors")
    assert spawn(refuse_sharded, 2, folder) == [0, 0]
    first, second = (torch.load(folder / f"errors-{rank}.pt") for rank in range(2))
    assert first.keys() == second.keys()
    return first


@pytest.mark.parametrize("name", WAYS)
def test_two_processes_train_what_one_would(name, sharded):
    one, (first, second) = train_with(name), (found[name] for found in sharded)
    for key, value in one["model"].items():
        # Draws included. Adam's steps make some 1e-14 of rounding.
        torch.testing.assert_close(first["model"][key], value, rtol=0, atol=1e-10, msg=key)
        assert torch.equal(first["model"][key], second["model"][key]), key
    for number, state in one["optimizer"].items():
        for key, value in state.items():
            torch.testing.assert_close(first["optimizer"][number][key], value, rtol=1e-6, atol=1e-10)
    for key, found in one["telemetry"].items():
        assert first["telemetry"][key] == pytest.approx(found, abs=1e-10)
    assert first["normalized"] == one["normalized"]


@pytest.mark.parametrize("name", WAYS)
def test_each_process_holds_half_of_the_factors(name, sharded):
    held = [found[name]["here"] for found in sharded]
    for key, value in sharded[0][name]["model"].items():
        if key.endswith("index"):
            continue
        rows = len(value)
        assert [shape[key][0] for shape in held] == [-(-rows // 2), rows // 2], key
        assert all(shape[key][1:] == value.shape[1:] for shape in held), key


@pytest.mark.parametrize("name", WAYS)
def test_each_process_decomposes_its_share_alone(name, sharded):
    first, second = (found[name]["decomposed"] for found in sharded)
    assert set(first) == {0, 2}
    assert set(second) == {1}
    assert len(first) + len(second) == len(train_with(name)["decomposed"])


def test_states_saved_by_torch_go_on_sharded_and_alone(tmp_path):
    assert spawn(resume_sharded, 2, tmp_path) == [0, 0]
    unbroken = train_unbroken()
    for name in ("sharded-0", "sharded-1", "alone-0"):
        resumed = torch.load(tmp_path / f"{name}.pt")
        for key, value in unbroken.items():
            torch.testing.assert_close(resumed[key], value, rtol=0, atol=1e-10, msg=f"{key} of {name}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "geoopt",
            "`optimizer` must know that the sharded vectors of '0.weight' lie on the sphere, but RiemannianAdam",
        ),
        ("without groups", "with groups from `hypersst.param_groups`, or `spectralize` with `vectors='ambient'`"),
        ("without sampler", "must be trained with `hypersst.SSTSampler`, .*: build it after `fully_shard`"),
        ("left whole", r"must be in shards to be written, but a pass has left them whole: call `reshard\(\)`"),
        ("cast", "`storage` must be float32 where `fully_shard` casts parameters, got 'bfloat16': use autocast"),
        ("across", r"sharded over axis 0, .* has placements \(Shard\(dim=.\),\): leave out `shard_placement_fn`"),
        ("in part", "sharded in all factors of a weight or in none, but of '0.weight' .* and sigma are not"),
        ("flat", "'u_active' of '.*0.weight' has shape .*: wrappers that flatten or cut matrices, as DeepSpeed's ZeRO"),
        ("points", "`params` on Stiefel.* must not be sharded in a point, which has 2 axes, got shape"),
        (
            "geoopt's points",
            "must read the manifold that group . names for sharded points, which RiemannianSGD does not",
        ),
        ("spectralize", "`model` must not be sharded, but '0.weight' is: change weights before `fully_shard`"),
        ("merge", "`model` must not be sharded: `merge` before `fully_shard`, or a model that has loaded the whole"),
        ("truncate", "`model` must not be sharded: `truncate` before"),
    ],
)
def test_what_cannot_be_sharded_is_refused_with_a_reason(name, reason, errors):
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(errors[name])


def test_an_optimizer_that_holds_flattened_copies_is_refused():
    model = torch.nn.Linear(4, 3)
    hypersst.spectralize(model, rank=2)
    flat = torch.nn.Parameter(torch.cat([p.detach().flatten() for p in model.parameters()]))
    with pytest.raises(ValueError, match=r"`optimizer` must hold .* flattened copies of them, as DeepSpeed's ZeRO"):
        hypersst.SSTSampler(model, torch.optim.AdamW([flat]))
