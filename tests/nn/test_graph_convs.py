"""Graph convolutions: formulas, forms of the graph and PyG's conventions, beyond ``test_conformance.py``."""

from __future__ import annotations

import pytest
import torch
from layer_cases import (
    CURVATURES,
    MANIFOLDS,
    off_manifold,
    points,
    shake,
    small_graph,
    sparse_adjacency,
    sparse_features,
)
from torch_geometric.nn import GCNConv as PyGGCNConv

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.nn import (
    CSRMatrix,
    GCNConv,
    LorentzConv,
    MobiusConv,
    normalized_adjacency,
)

CONVS = ("lorentz", "mobius-ball", "mobius-lorentz")


def make_conv(name, fan_in=4, fan_out=3, c=0.75, **options):
    torch.manual_seed(0)
    if name == "lorentz":
        conv = LorentzConv(fan_in, fan_out, manifold=Lorentz(c), **options)
    else:
        conv = MobiusConv(fan_in, fan_out, manifold=MANIFOLDS[name.split("-")[1]](c), **options)
    shake(conv)
    return conv.double()


def dense_mean(edge_index, num_nodes, edge_weight=None, loops=True):
    """D⁻¹(A + I) by loops over Python numbers."""
    a = torch.eye(num_nodes, dtype=torch.float64) if loops else torch.zeros(num_nodes, num_nodes).double()
    weights = [1.0] * edge_index.size(1) if edge_weight is None else edge_weight.tolist()
    for (source, target), w in zip(edge_index.t().tolist(), weights, strict=True):
        a[target, source] += w
    return a / a.sum(dim=1, keepdim=True).clamp_min(1e-30)


@pytest.mark.parametrize("c", CURVATURES)
def test_lorentz_conv_is_the_centroid_of_transformed_neighbours(c):
    edge_index, n = small_graph()
    conv = make_conv("lorentz", c=c)
    x = points(conv.manifold, n, 4)
    h = conv.lin(x)
    rows = []
    for weights in dense_mean(edge_index, n):
        s = sum(w * row for w, row in zip(weights, h, strict=True))
        rows.append(s / (c**0.5 * (s[0] ** 2 - s[1:] @ s[1:]).sqrt()))
    torch.testing.assert_close(conv(x, edge_index), torch.stack(rows))


@pytest.mark.parametrize("c", CURVATURES)
def test_lorentz_conv_minimises_the_squared_lorentzian_distances(c):
    edge_index, n = small_graph()
    conv = make_conv("lorentz", c=c)
    x = points(conv.manifold, n, 4)
    h, y = conv.lin(x).detach(), conv(x, edge_index).detach()
    a = dense_mean(edge_index, n)

    def cost(y):
        return (a * conv.manifold.sqdist(y.unsqueeze(1), h.unsqueeze(0))).sum(dim=1)

    for seed in range(5):
        torch.manual_seed(seed)
        u = conv.manifold.proju(y, 0.05 * torch.randn_like(y))
        assert (cost(conv.manifold.expmap(y, u)) > cost(y)).all()


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
@pytest.mark.parametrize("name", ["ball", "lorentz"])
def test_mobius_conv_equals_the_long_way_through_the_manifold(name, activation):
    # HGCN goes back to the manifold after the mean and leaves it again before the activation.
    edge_index, n = small_graph()
    inner, outer = MANIFOLDS[name](0.6), MANIFOLDS[name](1.7)
    conv = MobiusConv(4, 3, manifold=inner, out_manifold=outer, activation=activation).double()
    shake(conv)
    x = points(inner, n, 4)
    if name == "ball":
        exp, log = (lambda m, v: m.expmap0(v)), (lambda m, y: m.logmap0(y))
    else:
        exp, log = (lambda m, v: m.expmap0_space(v)), (lambda m, y: m.logmap0_space(y))
    h = conv.lin(x)
    aggregated = exp(inner, dense_mean(edge_index, n) @ torch.stack([log(inner, row) for row in h]))
    sigma = {None: lambda v: v, "relu": torch.relu, "tanh": torch.tanh}[activation]
    torch.testing.assert_close(conv(x, edge_index), exp(outer, sigma(log(inner, aggregated))))
    assert off_manifold(conv(x, edge_index).detach(), outer) < 1e-14


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CONVS)
def test_edges_sparse_adjacency_and_csr_matrix_agree(name, weighted):
    edge_index, n = small_graph()
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.1 if weighted else None
    conv = make_conv(name)
    x = points(conv.manifold, n, 4)
    expected = conv(x, edge_index, weight)
    values = torch.ones(edge_index.size(1), dtype=torch.float64) if weight is None else weight
    for layout in (torch.sparse_csr, torch.sparse_coo, torch.sparse_csc):
        torch.testing.assert_close(conv(x, sparse_adjacency(edge_index, values, n, layout)), expected)
    prepared = normalized_adjacency(edge_index, n, weight, dtype=torch.float64)
    torch.testing.assert_close(conv(x, prepared), expected)
    torch.testing.assert_close(expected, conv(x, CSRMatrix.from_dense(dense_mean(edge_index, n, weight))))


@pytest.mark.parametrize("name", CONVS)
def test_gradients_agree_with_finite_differences(name):
    edge_index, n = small_graph()
    conv = make_conv(name, 3, 2)
    x = points(conv.manifold, n, 3).requires_grad_()
    weight = (torch.rand(edge_index.size(1), dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: conv(x, edge_index, w), (x, weight))


@pytest.mark.parametrize("name", CONVS)
def test_a_node_without_neighbours_keeps_its_own_value(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    x = points(conv.manifold, n, 4)
    torch.testing.assert_close(conv(x, edge_index)[5], conv.lin(x)[5])


@pytest.mark.parametrize("name", CONVS)
def test_without_self_loops_a_lonely_node_goes_to_the_origin(name):
    edge_index, n = small_graph()
    conv = make_conv(name, add_self_loops=False)
    x = points(conv.manifold, n, 4).requires_grad_()
    y = conv(x, edge_index)
    origin = conv.manifold.origin(*y[5].shape, dtype=torch.float64).as_subclass(torch.Tensor)
    torch.testing.assert_close(y[5], origin)
    y.square().sum().backward()
    assert x.grad.isfinite().all()
    expected = conv(x, CSRMatrix.from_dense(dense_mean(edge_index, n, loops=False)))
    torch.testing.assert_close(y[:5], expected[:5])


def test_the_centroid_ignores_the_scale_of_rows():
    edge_index, n = small_graph()
    plain, divided = make_conv("lorentz", normalize=False, add_self_loops=True), make_conv("lorentz")
    x = points(plain.manifold, n, 4)
    torch.testing.assert_close(plain(x, edge_index), divided(x, edge_index))


@pytest.mark.parametrize("name", CONVS)
def test_a_cached_graph_is_used_until_the_parameters_are_reset(name):
    edge_index, n = small_graph()
    conv = make_conv(name, cached=True)
    x = points(conv.manifold, n, 4)
    first = conv(x, edge_index)
    other = edge_index[:, :3]
    torch.testing.assert_close(conv(x, other), first)
    conv.reset_parameters()
    assert not torch.allclose(conv(x, other), conv.double()(x, CSRMatrix.from_dense(dense_mean(edge_index, n))))


@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
@pytest.mark.parametrize("name", CONVS)
def test_flow_turns_the_edges_around(name, flow):
    edge_index, n = small_graph()
    conv = make_conv(name, flow=flow)
    x = points(conv.manifold, n, 4)
    forward = edge_index if flow == "source_to_target" else edge_index.flip(0)
    torch.testing.assert_close(conv(x, edge_index), make_conv(name)(x, forward))


def test_representations_are_those_of_pyg():
    assert repr(LorentzConv(16, 32)) == "LorentzConv(16, 32)"
    assert repr(MobiusConv(16, 32)) == "MobiusConv(16, 32)"
    assert repr(GCNConv(16, 32)) == "GCNConv(16, 32)"


@pytest.mark.parametrize("name", CONVS)
def test_graphs_that_do_not_fit_are_refused(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    x = points(conv.manifold, n, 4)
    matrix = normalized_adjacency(edge_index, n, dtype=torch.float64)
    with pytest.raises(ValueError, match="`edge_weight` must be None with a CSRMatrix"):
        conv(x, matrix, torch.ones(8))
    with pytest.raises(ValueError, match=r"a column for each of the 5 nodes, got shape \(6, 6\)"):
        conv(x[:5], matrix)
    with pytest.raises(TypeError, match=r"`edge_index` must be a tensor of shape .* got list"):
        conv(x, [[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="`out_channels` must be at least 1, got 0"):
        type(conv)(3, 0)


def test_manifolds_of_different_kinds_are_refused():
    with pytest.raises(ValueError, match="`out_manifold` must be of the same kind as `manifold`, got Lorentz"):
        MobiusConv(3, 4, manifold=PoincareBall(), out_manifold=Lorentz())


def test_gcn_conv_is_pygs_on_edges_and_on_a_prepared_adjacency():
    edge_index, n = small_graph()
    ours, theirs = GCNConv(10, 3).double(), PyGGCNConv(10, 3).double()
    theirs.load_state_dict(ours.state_dict())
    x = sparse_features(n, 10)
    expected = theirs(x, edge_index)
    prepared = normalized_adjacency(edge_index, n, normalization="sym", dtype=torch.float64)
    for features in (x, CSRMatrix.from_dense(x)):
        torch.testing.assert_close(ours(features, edge_index), expected)
        torch.testing.assert_close(ours(features, prepared), expected)
    assert isinstance(ours, PyGGCNConv)
    with pytest.raises(ValueError, match="`x` must have in_channels = 10 columns"):
        ours(x[:, :4], edge_index)


def test_gcn_conv_caches_as_pyg_does():
    edge_index, n = small_graph()
    conv = GCNConv(4, 3, cached=True)
    x = torch.randn(n, 4)
    torch.testing.assert_close(conv(x, edge_index), conv(x, edge_index[:, :2]))


@pytest.mark.parametrize("shape", [(8, 1), (7,)])
def test_edge_weights_must_be_one_for_each_edge(shape):
    edge_index, num_nodes = small_graph()
    conv = LorentzConv(4, 4)
    x = conv.manifold.from_space(torch.randn(num_nodes, 4))
    with pytest.raises(ValueError, match=r"`edge_weight` must hold a number for each of the 8 edges, got shape"):
        conv(x, edge_index, torch.ones(shape))


def test_a_sparse_matrix_must_have_a_row_for_each_node():
    edge_index, num_nodes = small_graph()
    matrix = normalized_adjacency(edge_index, num_nodes)
    wide = CSRMatrix.from_dense(matrix.to_dense()[:-1])
    conv = LorentzConv(4, 4)
    x = conv.manifold.from_space(torch.randn(num_nodes, 4))
    with pytest.raises(ValueError, match=r"`edge_index` must have a row for each of the 6 nodes"):
        conv(x, wide)
