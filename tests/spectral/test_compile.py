"""One compiled graph serves several draws and decompositions."""

from __future__ import annotations

import copy

import pytest
import torch
from compilers import needs_whole_graphs
from spectral_cases import build_optimizer, relative, train, weights_of
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import hypersst
from hypersst.spectral import SSTSampler

pytestmark = needs_whole_graphs

# Dynamo itself makes an instance of every autograd function that it traces, which torch deprecates.


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def model_of(execution, rank=2, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5))
    hypersst.spectralize(model, rank=rank, execution=execution, **options)
    return model


def run(model, steps, name="adamw", compiler=None):
    """Train ``steps`` steps, the model compiled or not; 3 steps an iteration, 9 a round."""
    optimizer = build_optimizer(name, model)
    SSTSampler(model, optimizer, steps_per_iteration=3, warmup_steps=2)
    called = model if compiler is None else torch.compile(model, backend=compiler, fullgraph=True)
    train(called, optimizer, range(steps))
    return called


@pytest.mark.parametrize("name", ["adamw", "riemannian-adam"])
@pytest.mark.parametrize("gradient", ["enhanced", "plain"])
@pytest.mark.parametrize("execution", ["composed", "factored"])
def test_one_graph_serves_draws_and_decompositions(execution, gradient, name):
    eager, compiled = model_of(execution, gradient=gradient), model_of(execution, gradient=gradient)
    counter = CompileCounterWithBackend("aot_eager")
    run(eager, 20, name)
    run(compiled, 20, name, counter)
    assert counter.frame_count == 1
    for ours, theirs in zip(weights_of(compiled), weights_of(eager), strict=True):
        assert relative(ours, theirs) < 1e-4  # the same operations; 20 steps of Adam carry rounding on


def test_every_vector_active_compiles_to_one_graph_too():
    eager, compiled = model_of("auto", rank=6), model_of("auto", rank=6)
    counter = CompileCounterWithBackend("aot_eager")
    run(eager, 12)
    run(compiled, 12, compiler=counter)
    assert counter.frame_count == 1
    for ours, theirs in zip(weights_of(compiled), weights_of(eager), strict=True):
        assert relative(ours, theirs) < 1e-4


@pytest.mark.slow
def test_inductor_makes_one_graph_too():
    def build():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5))
        hypersst.spectralize(model, rank=2, execution="composed", include=["0"])
        hypersst.spectralize(model, rank=2, execution="factored", include=["2"])
        return model

    eager, compiled = build(), build()
    counter = CompileCounterWithBackend("inductor")
    run(eager, 20)
    run(compiled, 20, compiler=counter)
    assert counter.frame_count == 1
    for ours, theirs in zip(weights_of(compiled), weights_of(eager), strict=True):
        assert relative(ours, theirs) < 1e-3


@pytest.mark.parametrize("execution", ["composed", "factored"])
def test_a_compiled_model_evaluates_what_was_trained(execution):
    model = model_of(execution)
    compiled = run(model, 5, compiler="aot_eager")
    x = torch.randn(3, 8)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), copy.deepcopy(model)(x))


@pytest.mark.parametrize("dynamic", [None, True])
def test_another_batch_size_needs_no_graph_break(dynamic):
    model = model_of("auto")
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for rows in (4, 7, 9):
        x = torch.randn(rows, 8)
        torch.testing.assert_close(compiled(x), model(x))
