"""Every hyperbolic linear layer is one compiled graph, spectral or not, over draws and decompositions."""

from __future__ import annotations

import pytest
import torch
from compilers import needs_whole_graphs
from layer_cases import LINEARS, make_linear, points
from spectral_cases import build_optimizer, only, relative, weights_of
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import hypersst
from hypersst.spectral import SSTSampler

# Dynamo itself makes an instance of every autograd function that it traces, which torch deprecates.


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def trained(name, backend, steps=20, c=0.7):
    """A spectral layer after some steps; 3 steps an iteration, at most 9 a round."""
    model = nn.Sequential(make_linear(name, 6, 5, c))
    hypersst.spectralize(model, rank=2)
    optimizer = build_optimizer("adamw", model)
    SSTSampler(model, optimizer, steps_per_iteration=3, warmup_steps=2)
    called = model if backend is None else torch.compile(model, backend=backend, fullgraph=True)
    x = points(model[0].manifold, 16, 6, dtype=torch.float32)
    for _ in range(steps):
        optimizer.zero_grad()
        (called(x) - 0.1).square().mean().backward()
        optimizer.step()
    return model


@needs_whole_graphs
@pytest.mark.parametrize("name", LINEARS)
def test_one_graph_serves_draws_and_decompositions(name):
    counter = CompileCounterWithBackend("aot_eager")
    compiled, eager = trained(name, counter), trained(name, None)
    assert counter.frame_count == 1
    assert relative(weights_of(compiled)[0], weights_of(eager)[0]) < 1e-4
    start = make_linear(name, 6, 5, 0.7)
    assert relative(weights_of(compiled)[0], start.weight) > 1e-2  # it did train
    assert max(only(compiled).spectral.defect()) < 0.5


@pytest.mark.parametrize("name", LINEARS)
def test_a_spectral_layer_gives_the_outputs_of_the_plain_one_and_merges_back(name):
    model = nn.Sequential(make_linear(name, 6, 5, 0.7)).double()
    x = points(model[0].manifold, 16, 6)
    plain = model(x)
    hypersst.spectralize(model, rank=2)
    torch.testing.assert_close(model(x), plain, rtol=1e-10, atol=1e-10)
    hypersst.merge(model)
    torch.testing.assert_close(model(x), plain, rtol=1e-10, atol=1e-10)
