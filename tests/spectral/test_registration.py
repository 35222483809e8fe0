"""What registering a parametrization leaves of the parameter before it."""

from __future__ import annotations

import torch
from torch import nn

from hypersst.lowrank import lora
from hypersst.spectral import spectral


def layer_with_gradient():
    torch.manual_seed(0)
    layer = nn.Linear(5, 4)
    layer(torch.randn(3, 5)).sum().backward()
    return layer


def test_a_gradient_of_the_weight_does_not_stay_on_its_singular_values():
    layer = layer_with_gradient()
    sigma = spectral(layer, rank=2).parametrizations.weight.original
    assert sigma.grad is None
    layer(torch.randn(3, 5)).sum().backward()
    assert sigma.grad.shape == sigma.shape == (4,)
    torch.optim.SGD([sigma], lr=0.1).step()


def test_a_gradient_that_fits_is_the_users():
    layer = layer_with_gradient()
    gradient, bias = layer.weight.grad.clone(), layer.bias.grad.clone()
    lora(layer, rank=2)
    assert torch.equal(layer.parametrizations.weight.original.grad, gradient)
    assert torch.equal(layer.bias.grad, bias)
