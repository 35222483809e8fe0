"""Whole states of weights that are not sharded; sharded ones are in tests/distributed."""

import pytest
import torch
from torch import nn

import hypersst
from hypersst.experiments.texts.run import plain_state
from hypersst.experiments.whole_state import clip_gradients, load_state, merged_state, whole_state
from hypersst.lowrank import lora


@pytest.mark.parametrize("largest", [0.5, 1e9, float("inf")])
def test_gradients_are_clipped_as_torch_does(largest):
    models = [nn.Linear(4, 3), nn.Linear(4, 3)]
    for model in models:
        for i, parameter in enumerate(model.parameters()):
            parameter.grad = torch.arange(parameter.numel(), dtype=torch.float32).view_as(parameter) - i
    norm = clip_gradients(models[0].parameters(), largest)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(models[1].parameters(), largest))
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("method", [hypersst.spectralize, lora])
def test_a_merged_state_is_that_of_the_merged_model(method):
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 4))
    method(model, rank=2)
    found, expected = merged_state(model), plain_state(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_state_is_loaded_whole():
    models = [nn.Linear(4, 3), nn.Linear(4, 3)]
    load_state(models[0], whole_state(models[1]))
    assert torch.equal(models[0].weight, models[1].weight)
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        load_state(models[0], nn.Linear(5, 3).state_dict())
