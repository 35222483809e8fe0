"""The sampler where several processes hold the model."""

from typing import Any

import pytest
import torch
from distributed_cases import SAMPLERS, spawn, train_replicas

from hypersst.spectral.replicas import Replicas

TOGETHER = [name for name in SAMPLERS if name != "alone"]


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes have after training together."""
    folder = tmp_path_factory.mktemp("replicas")
    assert spawn(train_replicas, 2, folder) == [0, 0]
    return [torch.load(folder / f"replica-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", TOGETHER)
def test_replicas_have_equal_factors_bit_for_bit_after_a_decomposition(name, replicas):
    first, second = (replica[name] for replica in replicas)
    for kind in ("model", "index"):
        assert first[kind].keys() == second[kind].keys()
        for key, value in first[kind].items():
            assert torch.equal(value, second[kind][key]), key
    for number, state in first["optimizer"].items():
        for key, value in state.items():
            assert torch.equal(value, second["optimizer"][number][key]), (number, key)


@pytest.mark.parametrize("name", TOGETHER)
def test_each_process_decomposes_its_share_alone(name, replicas):
    first, second = (replica[name]["decomposed"] for replica in replicas)
    times = 2 if name == "defect" else 1  # it is asked at every draw
    assert first == [0, 2] * times
    assert second == [1] * times


def test_a_decomposition_that_fails_fails_for_all(replicas):
    good, bad = replicas[0]["float32"], [replica["failing"] for replica in replicas]
    assert [len(replica["warnings"]) for replica in bad] == [0, 1]
    assert "2.weight keeps its factors: as the test wants it" in bad[1]["warnings"][0]
    assert not good["warnings"]
    name = "2.parametrizations.weight.0.u"
    assert not torch.equal(bad[0]["model"][name], good["model"][name])


def test_processes_that_train_each_a_model_of_its_own_decompose_all_of_it(replicas):
    first, second = (replica["alone"] for replica in replicas)
    assert first["decomposed"] == second["decomposed"] == [0, 1, 2]
    name = "2.parametrizations.weight.0.u"
    assert not torch.equal(first["model"][name], second["model"][name])


def test_a_single_process_owns_all():
    alone = Replicas()
    assert (alone.rank, alone.world) == (0, 1)
    assert alone.each([3, 5], lambda position: position == 5, torch.device("cpu")) == [False, True]
