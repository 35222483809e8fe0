"""What every layer of `hypersst.nn` promises, whatever its formula; cases: `hypersst.experiments.conformance`."""

from __future__ import annotations

import copy
import io
import statistics

import geoopt
import pytest
import torch
from compilers import needs_whole_graphs
from layer_cases import points, sparse_adjacency
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch_geometric.data import Batch, Data

import hypersst
import hypersst.nn
from hypersst.experiments.conformance import CASES, CLAIMS
from hypersst.experiments.conformance.case import OUT, C, dense, layer_of, on_manifold
from hypersst.experiments.conformance.points import isometry
from hypersst.experiments.layer_errors import RADII, layer_error
from hypersst.manifolds import Lorentz, PoincareBall, Stereographic
from hypersst.nn import CSRMatrix
from hypersst.spectral.targets import ALL_LINEAR, plain_targets

pytestmark = [
    # PyG's own normalisation of sparse adjacency says nothing about checks, and torch asks it to.
    pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning"),
]


def claiming(claim: str):
    return pytest.mark.parametrize("case", [case for case in CASES if claim in case.claims], ids=str)


every_layer = pytest.mark.parametrize("case", CASES, ids=str)
trained_layers = pytest.mark.parametrize("case", [case for case in CASES if list(case.make().parameters())], ids=str)


def set_up(case, dtype=torch.float64):
    """The layer and its inputs in one precision."""
    module = case.make().to(dtype)
    return module, case.inputs(module, dtype)


def differentiable(inputs) -> tuple[Tensor, ...]:
    return tuple(x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in inputs)


def value_and_gradients(call, module, inputs) -> tuple[Tensor, list[Tensor]]:
    """The result, and the gradients of its sum of squares with respect to inputs and parameters."""
    inputs = differentiable(inputs)
    wrt = [*(x for x in inputs if x.requires_grad), *module.parameters()]
    y = dense(call(*inputs))
    return y, list(torch.autograd.grad(y.square().sum(), wrt))


def gradients(call, module, inputs) -> list[Tensor]:
    return value_and_gradients(call, module, inputs)[1]


def in_chart(x: Tensor, manifold: geoopt.Manifold | None):
    """Free coordinates of a tensor and the way back; of Lorentz points the space part, their time follows from it."""
    if isinstance(manifold, Lorentz) and x.is_floating_point() and x.dim() > 1 and on_manifold(x, manifold):
        return x.detach().as_subclass(Tensor)[..., 1:].clone().requires_grad_(), manifold.from_space
    free = x.detach().as_subclass(Tensor).clone()
    return free.requires_grad_(x.is_floating_point()), lambda tensor: tensor


def saved_and_read(state):
    """Through a file that may hold nothing but weights."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def manifold_parameters(module: nn.Module) -> dict[str, geoopt.ManifoldParameter]:
    return {n: p for n, p in module.named_parameters() if isinstance(p, geoopt.ManifoldParameter)}


def keeps_its_manifolds(module: nn.Module, original: nn.Module) -> bool:
    """Whether the same parameters lie on manifolds, which are the module's own where they have a curvature."""
    kept, before = manifold_parameters(module), manifold_parameters(original)
    own = set(module.modules())
    return set(kept) == set(before) and all(
        p.manifold in own or (type(p.manifold) is type(before[n].manifold) and not list(p.manifold.buffers()))
        for n, p in kept.items()
    )


def test_every_layer_has_a_case():
    public = {getattr(hypersst.nn, name) for name in hypersst.nn.__all__}
    layers = {kind for kind in public if isinstance(kind, type) and issubclass(kind, nn.Module)}
    built = [case.make() for case in CASES]
    assert layers - {type(layer_of(module)) for module in built} == set()
    assert len({case.name for case in CASES}) == len(CASES)


@every_layer
def test_claims_are_known_and_none_is_modest(case):
    assert case.claims <= set(CLAIMS)
    assert bool(plain_targets(case.make(), ALL_LINEAR, None)) == ("spectral" in case.claims)
    assert case.prepare is None or "graph" in case.claims


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@every_layer
def test_outputs_have_the_stated_shape_and_type_and_lie_on_the_manifold(case, dtype):
    module, inputs = set_up(case, dtype)
    y = module(*inputs)
    assert tuple(y.shape) == case.shape
    assert y.dtype == dtype
    manifold = case.on(module)
    assert manifold is None or on_manifold(y, manifold)


@trained_layers
def test_points_stay_on_the_manifold_through_three_steps(case):
    module, inputs = set_up(case, torch.float32)
    before = [p.detach().clone() for p in module.parameters()]
    optimizer = geoopt.optim.RiemannianAdam(module.parameters(), lr=0.1)
    direction = torch.randn(case.shape)
    manifold = case.on(module)
    for _ in range(3):
        optimizer.zero_grad()
        (dense(module(*inputs)) * direction).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
        optimizer.step()
        y = module(*inputs)
        assert dense(y).isfinite().all()
        assert manifold is None or on_manifold(y, manifold)
        # geoopt's retraction rounds once more than a layer's last step.
        assert all(on_manifold(p.data, p.manifold, ulps=64) for p in manifold_parameters(module).values())
    assert any(not torch.equal(p, q) for p, q in zip(before, module.parameters(), strict=True))


@claiming("rows")
def test_a_batch_equals_a_loop(case):
    module, inputs = set_up(case)
    rows = [module(*(x[i] for x in inputs)) for i in range(len(inputs[0]))]
    torch.testing.assert_close(module(*inputs), torch.stack(rows))
    boxes = module(*(x.unflatten(0, (2, -1)) for x in inputs))
    torch.testing.assert_close(boxes.flatten(0, 1), torch.stack(rows))


@claiming("graph")
def test_permuting_the_nodes_permutes_the_result(case):
    module, (x, edge_index) = set_up(case)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x[order], order.argsort()[edge_index]), module(x, edge_index)[order])


@claiming("graph")
def test_the_order_of_edges_does_not_matter(case):
    module, (x, edge_index) = set_up(case)
    torch.testing.assert_close(module(x, edge_index.flip(1)), module(x, edge_index))


@claiming("graph")
def test_edges_and_sparse_adjacency_agree_in_values_and_gradients(case):
    module, (x, edge_index) = set_up(case)
    graphs = [sparse_adjacency(edge_index, torch.ones(edge_index.size(1), dtype=x.dtype), len(x))]
    if case.prepare is not None:
        graphs.append(case.prepare(edge_index, len(x), dtype=x.dtype))
    for graph in graphs:
        torch.testing.assert_close(module(x, graph), module(x, edge_index))
        found = gradients(lambda z, graph=graph: module(z, graph), module, (x,))
        torch.testing.assert_close(found, gradients(lambda z: module(z, edge_index), module, (x,)))


@claiming("graph")
def test_a_batch_of_graphs_equals_each_graph(case):
    module, (x, edge_index) = set_up(case)
    graphs = [Data(x=x, edge_index=edge_index), Data(x=x[1:5], edge_index=torch.tensor([[0, 2, 3], [3, 1, 2]]))]
    batch = Batch.from_data_list(graphs)
    expected = torch.cat([module(g.x, g.edge_index) for g in graphs])
    torch.testing.assert_close(module(batch.x, batch.edge_index), expected)


@claiming("sparse")
def test_sparse_rows_equal_dense_rows_in_values_and_gradients(case):
    module, (x, *rest) = set_up(case)
    sparse = CSRMatrix.from_dense(x)
    assert sparse.values.numel() < x.numel()
    torch.testing.assert_close(dense(module(sparse, *rest)), module(x, *rest))

    def of_values(values):
        return module(sparse.with_values(values), *rest)

    found, *found_weights = gradients(of_values, module, (sparse.values,))
    expected, *expected_weights = gradients(lambda z: module(z, *rest), module, (x,))
    torch.testing.assert_close(found, expected[sparse.row.long(), sparse.col.long()])
    torch.testing.assert_close(found_weights, expected_weights)


@claiming("isometry")
def test_isometries_pass_through(case):
    module, inputs = set_up(case)
    y = module(*inputs)
    move = isometry(module.manifold)
    moved_inputs = [move(x) if x.is_floating_point() else x for x in inputs]
    with torch.no_grad():
        for parameter in manifold_parameters(module).values():
            parameter.copy_(move(parameter.data))
    torch.testing.assert_close(module(*moved_inputs), y if case.on(module) is None else move(y))


@every_layer
def test_gradients_agree_with_finite_differences(case):
    module, inputs = set_up(case)
    names, parameters = zip(*module.named_parameters(), strict=True) if list(module.parameters()) else ((), ())
    charts = [in_chart(x, getattr(module, "manifold", None)) for x in inputs]
    charts += [in_chart(p, getattr(p, "manifold", None)) for p in parameters]

    def run(*free):
        tensors = [back(t) for t, (_, back) in zip(free, charts, strict=True)]
        given = dict(zip(names, tensors[len(inputs) :], strict=True))
        return dense(torch.func.functional_call(module, given, tuple(tensors[: len(inputs)])))

    assert torch.autograd.gradcheck(run, tuple(free for free, _ in charts))


@every_layer
def test_autocast_keeps_points_in_float32_on_the_manifold(case):
    module, inputs = set_up(case, torch.float32)
    expected = module(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(*inputs)
    manifold = case.on(module)
    if manifold is not None:
        assert y.dtype == torch.float32
        assert on_manifold(y, manifold)
    # The products themselves may run in bfloat16, which has 8 bits.
    torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.1)


@needs_whole_graphs
@every_layer
def test_one_compiled_graph(case):
    module, inputs = set_up(case, torch.float32)
    expected = value_and_gradients(module, module, inputs)
    torch._dynamo.reset()
    # The tracer is what can break a graph; code generation would only cost time.
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    # Compiled code may add up in another order, and single entries of a gradient are small differences of large sums.
    for found, wanted in zip(*map(tree_leaves, (value_and_gradients(compiled, module, inputs), expected)), strict=True):
        scale = max(1.0, float(wanted.detach().abs().max()))
        torch.testing.assert_close(found, wanted, rtol=1.3e-6, atol=1e-5 * scale)


@claiming("export")
def test_the_exported_program_computes_the_same(case):
    module, inputs = set_up(case, torch.float32)
    program = torch.export.export(module, inputs, strict=False)
    torch.testing.assert_close(program.module()(*inputs), module(*inputs))


@every_layer
def test_copies_are_equal_and_independent(case):
    module, inputs = set_up(case)
    expected = module(*inputs)
    twin = copy.deepcopy(module)
    torch.testing.assert_close(twin(*inputs), expected, rtol=0, atol=0)
    assert keeps_its_manifolds(twin, module)
    with torch.no_grad():
        for tensor in (*twin.parameters(), *twin.buffers()):
            tensor.zero_()
    torch.testing.assert_close(module(*inputs), expected, rtol=0, atol=0)


@every_layer
def test_state_survives_a_file_that_holds_only_weights(case):
    module, other = case.make(), case.make(2 * C, seed=1)
    inputs = case.inputs(module, torch.float32)
    assert not list(module.parameters()) or not torch.equal(dense(other(*inputs)), dense(module(*inputs)))
    other.load_state_dict(saved_and_read(module.state_dict()))
    torch.testing.assert_close(other(*inputs), module(*inputs), rtol=0, atol=0)


@every_layer
def test_double_casts_curvature_and_result(case):
    module, inputs = set_up(case, torch.float32)
    single = module(*inputs)
    module.double()
    double = module(*(x.double() if x.is_floating_point() else x for x in inputs))
    assert double.dtype == torch.float64
    numbers = (t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    assert all(t.dtype == torch.float64 for t in numbers)
    torch.testing.assert_close(double.float(), single, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shell_on", ["meta", "meta-empty", "cpu"])
@every_layer
def test_assigned_weights_keep_their_manifold(case, shell_on):
    module, inputs = set_up(case)
    shell = case.make(seed=1).double()
    if shell_on != "cpu":
        shell = shell.to("meta") if shell_on == "meta" else shell.to_empty(device="meta")
    shell.load_state_dict(saved_and_read(module.state_dict()), assign=True)
    assert all(t.device.type == "cpu" for t in (*shell.parameters(), *shell.buffers()))
    assert keeps_its_manifolds(shell, module)
    assert all(p.requires_grad for p in shell.parameters())
    torch.testing.assert_close(shell(*inputs), module(*inputs), rtol=0, atol=0)


@every_layer
def test_a_layer_built_without_memory_becomes_the_one_whose_weights_it_is_given(case):
    module, inputs = set_up(case)
    with torch.device("meta"):
        shell = case.build(C).double()
    assert all(t.device.type == "meta" for t in (*shell.parameters(), *shell.buffers()))
    assert type(layer_of(shell)).__name__ in repr(shell)
    shell.load_state_dict(saved_and_read(module.state_dict()), assign=True)
    assert keeps_its_manifolds(shell, module)
    torch.testing.assert_close(shell(*inputs), module(*inputs), rtol=0, atol=0)


@every_layer
def test_in_float32_a_thousandth_is_right_at_any_radius_up_to_seven(case):
    for radius in RADII:
        assert layer_error(case, radius) < 1e-3
    # Attention by distance doubles the exponent of what its first linear map has rounded; by how much it then misses is
    # a matter of single roundings: of eight seeds one misses by 2e-3 or 6e-3, as the processor orders its sums.
    near = [layer_error(case, RADII[-1], together=True, seed=seed) for seed in range(5)]
    assert statistics.median(near) < 1e-3
    assert max(near) < 2e-2


@claiming("spectral")
def test_spectral_weights_and_merged_weights_compute_the_same(case):
    module, inputs = set_up(case)
    expected, state = module(*inputs), set(module.state_dict())
    expected_gradient = gradients(module, module, inputs)[0]
    hypersst.spectralize(module, rank=2)
    torch.testing.assert_close(module(*inputs), expected)
    torch.testing.assert_close(gradients(module, nn.Module(), inputs)[0], expected_gradient)
    hypersst.merge(module)
    torch.testing.assert_close(module(*inputs), expected)
    assert set(module.state_dict()) == state


def test_every_layer_on_a_ball_or_a_space_of_any_curvature_has_a_euclidean_twin():
    curved = [
        case for case in CASES if isinstance(getattr(case.make(), "manifold", None), PoincareBall | Stereographic)
    ]
    assert [case.name for case in curved if case.flat is None] == []


@pytest.mark.parametrize("case", [case for case in CASES if case.flat], ids=str)
def test_without_curvature_it_is_the_euclidean_layer(case):
    module = case.make(c=1e-7).double()
    inputs = case.inputs(module, torch.float64)
    y, expected = module(*inputs), case.flat(module, *inputs)
    # Of a Lorentz point the space part; its time tends to infinity.
    torch.testing.assert_close(y[..., -expected.shape[-1] :] if y.dim() > 1 else y, expected, rtol=1e-4, atol=1e-4)


def test_isometries_of_the_suite_keep_distances():
    # Otherwise the law above would hold for the wrong reason.
    for manifold in (Lorentz(C), PoincareBall(C)):
        x, y = points(manifold.double(), 5, OUT), points(manifold, 5, OUT, seed=1)
        move = isometry(manifold)
        torch.testing.assert_close(manifold.dist(move(x), move(y)), manifold.dist(x, y))
        assert (manifold.dist(move(x), x) > 0.1).all()
