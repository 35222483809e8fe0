"""A weight built twice gives the values and gradients of one that is kept."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from compilers import needs_whole_graphs
from spectral_cases import SHAPES, build_optimizer, only, relative, small_model, train, trained, unsettle, weights_of
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

import hypersst
from hypersst.spectral import SSTConfig, SSTSampler, spectral, spectral_weights
from hypersst.spectral.spectral_weight import spectral_of

# Sums of a few hundred products in float64.
TOLERANCE = 1e-12
STORAGES = ("float32", "bfloat16", "int8")


def pair(shape=(12, 12), rank=3, dtype=torch.float64, unsettled=True, **options):
    """The same layer without and with recompute."""
    models = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(shape[1], shape[0])).to(dtype)
        hypersst.spectralize(model, rank=rank, recompute=recompute, **options)
        if unsettled:
            unsettle(only(model))
        models.append(model)
    return models


def gradients(model, x, run=None):
    x = x.clone().requires_grad_()
    model.zero_grad()
    y = (run or model)(x)
    (y.sin() * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


def assert_same(ours, theirs, tolerance=TOLERANCE):
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        assert relative(mine, other) < tolerance


@pytest.mark.parametrize("batch", [(), (9,), (3, 5)], ids=str)
@pytest.mark.parametrize("gradient", ["enhanced", "plain"])
@pytest.mark.parametrize("execution", ["composed", "factored"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_and_gradients_are_those_of_the_ordinary_execution(shape, execution, gradient, batch):
    ordinary, again = pair(shape, execution=execution, gradient=gradient)
    x = torch.randn(*batch, shape[1], dtype=torch.float64)
    assert_same(gradients(again, x), gradients(ordinary, x))


@pytest.mark.parametrize("storage", STORAGES[1:])
@pytest.mark.parametrize("execution", ["composed", "factored"])
def test_it_goes_together_with_compact_storage(execution, storage):
    ordinary, again = pair((20, 140), execution=execution, storage=storage, unsettled=False)
    x = torch.randn(7, 140, dtype=torch.float64)
    assert_same(gradients(again, x), gradients(ordinary, x))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("execution", ["composed", "factored"])
def test_the_input_and_what_the_module_holds_anyway_are_all_that_is_kept(execution, storage):
    _, model = pair((50, 40), dtype=torch.float32, unsettled=False, execution=execution, storage=storage)
    held = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
    x, kept = torch.randn(30, 40), []
    held.add(x.untyped_storage().data_ptr())
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        model(x)
    assert len(kept) >= 4
    assert all(t.untyped_storage().data_ptr() in held for t in kept)


def test_a_layer_whose_input_needs_no_gradient_builds_no_weight_for_it(monkeypatch):
    from hypersst.spectral import products

    _, model = pair(execution="composed")
    built, matrix = [], products._matrix
    monkeypatch.setattr(products, "_matrix", lambda *args: built.append(1) or matrix(*args))
    model(torch.randn(3, 12, dtype=torch.float64)).sum().backward()
    assert len(built) == 1


def test_every_vector_may_be_active():
    ordinary, again = pair((7, 20), rank=7)
    x = torch.randn(5, 20, dtype=torch.float64)
    assert_same(gradients(again, x), gradients(ordinary, x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("execution", ["composed", "factored"])
def test_autocast_gives_float32_gradients_near_those_of_the_ordinary_execution(execution, dtype):
    ordinary, again = pair((6, 8), rank=2, dtype=torch.float32, execution=execution)
    x = torch.randn(32, 8)

    def run(model):
        with torch.autocast("cpu", dtype=dtype):
            y = model(x_ := x.clone().requires_grad_())
        assert y.dtype == dtype
        y.float().square().sum().backward()
        return [x_.grad, *(p.grad for p in model.parameters() if p.requires_grad)]

    # The bias is added within the product there and after it here: one rounding more.
    assert_same(run(again), run(ordinary), 10 * torch.finfo(dtype).eps)


def test_accumulated_gradients_are_those_of_the_whole_batch():
    ordinary, again = pair()
    x = torch.randn(12, 12, dtype=torch.float64)
    for part in x.split(5):
        again(part).square().sum().backward()
    ordinary(x).square().sum().backward()
    trained_of = [[p.grad for p in model.parameters() if p.requires_grad] for model in (again, ordinary)]
    assert_same(*trained_of)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_it_works_inside_a_checkpoint(use_reentrant):
    ordinary, again = pair()
    x = torch.randn(5, 12, dtype=torch.float64)
    run = lambda x: checkpoint(again, x, use_reentrant=use_reentrant)  # noqa: E731
    assert_same(gradients(again, x, run), gradients(ordinary, x))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("execution", ["composed", "factored"])
@pytest.mark.parametrize("recompute", [False, True])
def test_several_models_at_once_equal_them_one_by_one(recompute, execution, storage):
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(nn.Sequential(nn.Linear(8, 6)).double())
        hypersst.spectralize(models[-1], rank=2, recompute=recompute, execution=execution, storage=storage)
        only(models[-1]).spectral.activate(torch.tensor([seed, 5]))
    stacked = {name: torch.stack([m.state_dict()[name] for m in models]) for name in models[0].state_dict()}
    leaves = {n: stacked[n].requires_grad_() for n, p in models[0].named_parameters() if p.requires_grad}
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    together = torch.vmap(lambda state, x: torch.func.functional_call(models[0], state, (x,)))(stacked, x)
    together.square().sum().backward()
    for i, model in enumerate(models):
        y = model(x[i])
        y.square().sum().backward()
        assert relative(together[i], y) < TOLERANCE
        assert_same([leaves[n].grad[i] for n in leaves], [dict(model.named_parameters())[n].grad for n in leaves])


@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_training_goes_the_same_way(storage):
    models = [trained(steps=10, model=small_model(recompute=r, storage=storage))[0] for r in (False, True)]
    for ours, theirs in zip(*map(weights_of, models), strict=True):
        assert relative(ours, theirs) < 1e-4  # ten steps of Adam carry float32's rounding on


@needs_whole_graphs
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("execution", ["composed", "factored"])
def test_one_compiled_graph_serves_draws_and_decompositions(execution, storage):
    torch._dynamo.reset()
    eager, compiled = (small_model(execution=execution, recompute=True, storage=storage) for _ in range(2))
    counter = CompileCounterWithBackend("aot_eager")
    for model, called in ((eager, eager), (compiled, torch.compile(compiled, backend=counter, fullgraph=True))):
        optimizer = build_optimizer("adamw", model)
        SSTSampler(model, optimizer, steps_per_iteration=3, warmup_steps=2)
        train(called, optimizer, range(14))
    assert counter.frame_count == 1
    for ours, theirs in zip(weights_of(compiled), weights_of(eager), strict=True):
        # Rounding to int8 may fall to the other side of a tie, a step of a 127th of an entry.
        assert relative(ours, theirs) < (1e-4 if storage == "float32" else 1e-2)
    torch._dynamo.reset()


def test_evaluation_caches_the_weight_and_cached_keeps_it():
    ordinary, again = pair()
    x = torch.randn(5, 12, dtype=torch.float64)
    again.eval()
    with torch.no_grad():
        assert again[0].weight is again[0].weight
        torch.testing.assert_close(again(x), ordinary(x))
    again.train()
    with parametrize.cached():
        assert_same(gradients(again, x), gradients(ordinary, x))


def test_second_derivatives_are_refused():
    _, model = pair()
    y = model(torch.randn(5, 12, dtype=torch.float64)).square().sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(y, only(model).sigma, create_graph=True)


def test_copies_and_merged_models_go_on():
    _, model = pair(storage="int8", unsettled=False)
    x = torch.randn(5, 12, dtype=torch.float64)
    y = model(x).detach()
    assert torch.equal(copy.deepcopy(model)(x), y)
    hypersst.merge(model)
    torch.testing.assert_close(model(x), y)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize(
    ("shape", "rows", "factored"),
    [
        ((64, 4096), 10**4, False),  # fewer than 128 singular values
        ((640, 640), 8192, False),
        ((640, 640), 640, True),
        ((640, 1708), 8192, False),  # factored where x vᵀ is kept
        ((640, 3200), 8192, False),  # the product with v, along the longer side, is made twice
        ((3200, 640), 8192, True),
    ],
)
def test_auto_counts_what_is_made_twice(shape, rows, factored):
    layer = nn.Linear(shape[1], shape[0], device="meta")
    layer.to_empty(device="cpu").weight.detach().copy_(torch.eye(*shape))
    p = spectral_of(spectral(layer, rank=64, recompute=True, factors="random"))
    assert p.prefers_factors(torch.empty(rows, shape[1], device="meta")) == factored


def test_layers_that_are_no_plain_linear_maps_are_refused_by_name():
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "conv": nn.Conv1d(4, 4, 3)})
    with pytest.raises(ValueError, match=r"`recompute` must be False for layers .* such as conv.weight: `include`"):
        hypersst.spectralize(model, SSTConfig(rank=2, recompute=True))
    assert not spectral_weights(model)
    with pytest.raises(ValueError, match="`recompute` must be False for Conv1d, which is no plain linear map"):
        spectral(model["conv"], rank=2, recompute=True)
    hypersst.spectralize(model, rank=2, recompute=True, include=["a"])
    hypersst.spectralize(model, rank=2)
    assert [w.spectral.recompute for w in spectral_weights(model)] == [True, False]


def test_the_weight_that_is_read_is_the_whole_one():
    _, model = pair(storage="int8", unsettled=False)
    x = torch.randn(5, 12, dtype=torch.float64)
    torch.testing.assert_close(model(x), F.linear(x, model[0].weight, model[0].bias))
