"""Laws that every hyperbolic graph convolution obeys, and PyG's conventions for them."""

from __future__ import annotations

import copy
import io

import geoopt
import pytest
import torch
from compilers import needs_whole_graphs
from conv_cases import ATTENTIVE, LAZY, NAMES, ROOTED, conv_points, make_conv, off
from layer_cases import small_graph, sparse_adjacency, sparse_features

import hypersst
from hypersst.manifolds import Lorentz
from hypersst.manifolds.stereographic import Stereographic
from hypersst.nn import (
    CSRMatrix,
    GCNConv,
    HGNNConv,
    LiftFeatures,
    LorentzConv,
    LorentzGATConv,
    LorentzGINConv,
    LorentzLinear,
    LorentzSAGEConv,
    edge_softmax,
)


@pytest.mark.parametrize("name", NAMES)
def test_results_are_points_of_the_manifold(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    y = conv(conv_points(conv, n), edge_index)
    width = 12 if name == "gat" else 4
    assert y.shape == (n, width + (not isinstance(conv.manifold, Stereographic) and "ball" not in name))
    assert off(y, conv) < 1e-12


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_edges_of_any_integer_type_sparse_adjacency_and_csr_matrix_agree(name, weighted):
    edge_index, n = small_graph()
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.1 if weighted else None
    conv = make_conv(name, **({} if name in ROOTED else {"add_self_loops": True}))
    x = conv_points(conv, n)
    expected = conv(x, edge_index, weight)
    torch.testing.assert_close(conv(x, edge_index.int(), weight), expected)
    values = torch.ones(edge_index.size(1), dtype=torch.float64) if weight is None else weight
    for layout in (torch.sparse_csr, torch.sparse_coo):
        torch.testing.assert_close(conv(x, sparse_adjacency(edge_index, values, n, layout)), expected)
    # A prepared matrix is taken as it is, so the loops and the division are made here.
    dense = torch.zeros(n, n, dtype=torch.float64).index_put((edge_index[1], edge_index[0]), values, accumulate=True)
    if name not in ROOTED:
        dense = dense + torch.eye(n, dtype=torch.float64)
    if name != "gin":
        dense = dense / dense.sum(1, keepdim=True).clamp_min(1e-9)
    torch.testing.assert_close(conv(x, CSRMatrix.from_dense(dense)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_permuting_the_nodes_permutes_the_result(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    x = conv_points(conv, n)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(conv(x[order], order.argsort()[edge_index]), conv(x, edge_index)[order])


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_two_graphs_is_two_graphs(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    x, z = conv_points(conv, n), conv_points(conv, n, seed=1)
    both = conv(torch.cat((x, z)), torch.cat((edge_index, edge_index.flip(0) + n), dim=1))
    torch.testing.assert_close(both, torch.cat((conv(x, edge_index), conv(z, edge_index.flip(0)))))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ATTENTIVE])
def test_several_signals_on_one_graph_are_computed_at_once(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    x = torch.stack([conv_points(conv, n, seed=s) for s in range(3)])
    torch.testing.assert_close(conv(x, edge_index), torch.stack([conv(row, edge_index) for row in x]))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_nodes_as_sources_and_targets_are_one_set_of_nodes(name):
    edge_index, n = small_graph()
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.1
    conv = make_conv(name)
    x = conv_points(conv, n)
    expected = conv(x, edge_index, weight)
    torch.testing.assert_close(conv((x, x), edge_index, weight), expected)
    torch.testing.assert_close(conv((x, x), edge_index, weight, size=(n, n)), expected)
    torch.testing.assert_close(conv((x, x), sparse_adjacency(edge_index, weight, n)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_mini_batch_gives_its_targets_what_the_whole_graph_gives_them(name):
    # Targets 3 and 4 first, then their neighbours, as a neighbour sampler numbers them.
    edge_index, n = small_graph()
    conv = make_conv(name)
    x = conv_points(conv, n)
    kept = edge_index[:, (edge_index[1] == 3) | (edge_index[1] == 4)]
    order = torch.tensor([3, 4, 0, 2])
    place = torch.full((n,), -1).index_put((order,), torch.arange(4))
    batch = x[order], x[order[:2]]
    expected = conv(x, edge_index)[order[:2]]
    torch.testing.assert_close(conv(batch, place[kept]), expected)
    torch.testing.assert_close(conv(batch, place[kept], size=(4, 2)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_finite_differences(name):
    edge_index, n = small_graph()
    conv = make_conv(name, 2, 2)
    x = conv_points(conv, n, 2).requires_grad_()
    weight = (torch.rand(edge_index.size(1), dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: conv(x, edge_index, w), (x, weight), fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_and_lonely_nodes_break_no_gradient(name):
    edge_index, n = small_graph()
    conv = make_conv(name, **({} if name in ROOTED else {"add_self_loops": False}))
    x = conv_points(conv, n).requires_grad_()
    conv(x, edge_index).pow(2).sum().backward()
    for parameter_name, parameter in (("x", x), *conv.named_parameters()):
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_points_stay_on_the_manifold_through_three_steps(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    optimizer = geoopt.optim.RiemannianAdam(conv.parameters(), lr=0.1)
    x = conv_points(conv, n)
    for _ in range(3):
        optimizer.zero_grad()
        conv.manifold.dist0(conv(x, edge_index)).sum().backward()
        optimizer.step()
        assert off(conv(x, edge_index).detach(), conv) < 1e-12


@needs_whole_graphs
@pytest.mark.parametrize("name", NAMES)
def test_one_compiled_graph(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    x = conv_points(conv, n)
    torch._dynamo.reset()
    compiled = torch.compile(conv, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, edge_index), conv(x, edge_index))


@pytest.mark.parametrize("name", NAMES)
def test_spectralize_and_merge_leave_the_result(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    x = conv_points(conv, n)
    expected = conv(x, edge_index)
    if name == "h2h":  # its only weight is orthogonal and has singular values one
        with pytest.raises(ValueError, match="selects none"):
            hypersst.spectralize(conv, rank=2)
        return
    hypersst.spectralize(conv, rank=2)
    torch.testing.assert_close(conv(x, edge_index), expected)
    hypersst.merge(conv)
    torch.testing.assert_close(conv(x, edge_index), expected)


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_state_dicts_hold_the_layer(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    x = conv_points(conv, n)
    expected = conv(x, edge_index)
    file = io.BytesIO()
    torch.save(conv.state_dict(), file)
    file.seek(0)
    other = make_conv(name)
    other.reset_parameters()
    assert not torch.allclose(other(x, edge_index), expected)
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(other(x, edge_index), expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(conv)(x, edge_index), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ROOTED])
def test_sparse_features_equal_dense_features(name):
    edge_index, n = small_graph()
    conv = make_conv(name, 10, 10)
    features = 0.3 * sparse_features(n, 10)
    if isinstance(conv.manifold, Stereographic):
        dense, sparse = features, CSRMatrix.from_dense(features)
    else:
        lift = LiftFeatures(manifold=conv.manifold)
        dense, sparse = lift(features), lift(CSRMatrix.from_dense(features))
    torch.testing.assert_close(conv(sparse, edge_index), conv(dense, edge_index))


@pytest.mark.parametrize("name", LAZY)
def test_minus_one_reads_the_channels_off_the_first_input(name):
    edge_index, n = small_graph()
    lazy = make_conv(name, -1, 3)
    assert repr(lazy).startswith(f"{type(lazy).__name__}(-1, 3")
    lazy.reset_parameters()  # has nothing to reset yet and does not fail
    x = conv_points(lazy, n, 5)
    twin = copy.deepcopy(lazy)
    expected = lazy(x, edge_index)
    full = make_conv(name, 5, 3)
    assert {k: v.shape for k, v in lazy.state_dict().items()} == {k: v.shape for k, v in full.state_dict().items()}
    twin.load_state_dict(lazy.state_dict())
    torch.testing.assert_close(twin(x, edge_index), expected, rtol=0, atol=0)
    torch.testing.assert_close(lazy(x, edge_index), expected, rtol=0, atol=0)
    assert not lazy.lin._forward_pre_hooks


@pytest.mark.parametrize("name", [n for n in NAMES if n != "gin"])
def test_sources_and_targets_may_have_sizes_of_their_own(name):
    conv = make_conv(name, (2, 3))
    x = conv_points(conv, 5, 2), conv_points(conv, 4, 3, seed=1)
    edge_index = torch.tensor([[0, 1, 4, 4], [0, 2, 2, 1]])
    y = conv(x, edge_index)
    assert y.shape[0] == 4 and off(y, conv) < 1e-12
    assert (", ".join(repr(conv).split(", ")[:2])) == f"{type(conv).__name__}((2, 3)"
    if name in LAZY:
        again = make_conv(name, (-1, -1))
        assert again(x, edge_index).shape == y.shape


@pytest.mark.parametrize("name", [n for n in NAMES if n not in (*ROOTED, *ATTENTIVE)])
def test_without_targets_their_number_must_be_known(name):
    edge_index, n = small_graph()
    conv = make_conv(name, add_self_loops=False)
    x = conv_points(conv, n)
    torch.testing.assert_close(conv((x, None), edge_index, size=(n, n)), conv(x, edge_index))
    with pytest.raises(ValueError, match=r"`size` must be given as \(N_src, N_dst\) where `x` holds no targets"):
        conv((x, None), edge_index)
    with pytest.raises(ValueError, match="`x` must hold targets too, for `add_self_loops=True`"):
        make_conv(name)((x, None), edge_index, size=(n, n))


@pytest.mark.parametrize("name", NAMES)
def test_pairs_that_do_not_fit_are_refused(name):
    edge_index, n = small_graph()
    conv = make_conv(name)
    x = conv_points(conv, n)
    with pytest.raises(ValueError, match=r"`size` must be \(6, 6\), the numbers of sources and targets, got \(6, 4\)"):
        conv((x, x), edge_index, size=(6, 4))
    with pytest.raises(ValueError, match=r"`size` must be \(6, 6\) for one set of nodes, got \(6, 4\)"):
        conv(x, edge_index, size=(6, 4))
    with pytest.raises(TypeError, match="`edge_index` must be a tensor"):
        conv(x, [[0], [1]])
    turned = make_conv(name, flow="target_to_source")
    torch.testing.assert_close(turned(x, edge_index.flip(0)), conv(x, edge_index))
    with pytest.raises(ValueError, match="`flow` must be 'source_to_target' for bipartite graphs"):
        turned((x, x), edge_index)


def test_options_that_make_no_sense_are_refused():
    edge_index, n = small_graph()
    conv = HGNNConv(4, 4, normalization="sym").double()
    x = conv_points(conv, n)
    with pytest.raises(ValueError, match="`normalization` must be 'row' for bipartite graphs"):
        conv((x, x), edge_index)
    with pytest.raises(ValueError, match="`normalization` must be one of row, sym, got 'rwo'"):
        HGNNConv(4, 4, normalization="rwo")
    with pytest.raises(ValueError, match="`heads` must be at least 1, got 0"):
        LorentzGATConv(4, 4, heads=0)
    with pytest.raises(ValueError, match="`in_channels` must be at least 1, got 0; -1 reads it off"):
        LorentzConv(0, 4)
    with pytest.raises(ValueError, match="`x` must be one set of nodes, got a pair: symmetric normalisation needs"):
        GCNConv(4, 4)((torch.ones(6, 4), torch.ones(6, 4)), edge_index)
    sage = LorentzSAGEConv(4, 4)
    with pytest.raises(TypeError, match="`x` must be dense, since neighbours are averaged before the linear layer"):
        sage(CSRMatrix.from_dense(torch.ones(6, 5)), edge_index)
    with pytest.raises(ValueError, match="`x` must hold targets too, which stand beside"):
        sage((torch.ones(6, 5), None), edge_index, size=(6, 6))
    gat = LorentzGATConv(4, 4)
    with pytest.raises(ValueError, match="`x` must hold targets too, which attention compares"):
        gat((torch.ones(6, 5), None), edge_index, size=(6, 6))


def test_edge_softmax_is_the_softmax_of_each_node():
    target = torch.tensor([2, 0, 2, 2, 0])
    score, weight = 50 * torch.randn(5, 3, dtype=torch.float64), torch.tensor([1.0, 2.0, 0.0, 3.0, 0.5]).double()
    alpha = edge_softmax(score, target, 4, weight)
    for node in (0, 2):
        here = target == node
        expected = (score[here] + weight[here].log().unsqueeze(-1)).softmax(0)
        torch.testing.assert_close(alpha[here], expected)
    assert (edge_softmax(score[:1], target[:1], 4, 0 * weight[:1]) == 0).all()
    torch.testing.assert_close(edge_softmax(score + 1e3, target, 4, weight), alpha)


@pytest.mark.parametrize("name", ATTENTIVE)
def test_attention_needs_memory_for_edges_only(name):
    # One number for each pair of these nodes would be 80 GB.
    n = 100_000
    conv = make_conv(name, 2, 2).float()
    x = conv.manifold.from_space(torch.ones(n, 2))
    y = conv(x, torch.tensor([[0, 1], [1, n - 1]]))
    assert y.shape[0] == n and y.isfinite().all()


def test_an_edge_of_weight_zero_is_not_the_largest():
    alpha = edge_softmax(torch.tensor([0.0, -200.0]), torch.tensor([0, 0]), 1, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(alpha, torch.tensor([0.0, 1.0]))


def test_gin_lies_where_its_network_does():
    network = LorentzLinear(4, 3, manifold=Lorentz(4.0))
    assert LorentzGINConv(network).manifold is network.manifold


@pytest.mark.parametrize("name", ATTENTIVE)
def test_a_node_all_of_whose_neighbours_are_dropped_is_the_origin_and_breaks_no_gradient(name):
    edge_index, n = small_graph()
    conv = make_conv(name, dropout=0.9).float()  # in float64 the derivative at an empty sum would not overflow
    x = conv_points(conv, n).float()
    torch.manual_seed(0)
    y = conv(x, edge_index)
    origin = y[:, 1:].abs().sum(dim=1) == 0
    assert 0 < origin.sum() < n
    torch.testing.assert_close(y[origin, 0], conv.manifold.c.rsqrt().expand(int(origin.sum())))
    y.sum().backward()
    for parameter_name, parameter in conv.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name


def test_a_node_whose_remaining_neighbours_hardly_count_breaks_no_gradient():
    conv = make_conv("lgcn", add_self_loops=False, activation=None).float()
    x = conv_points(conv, 3).float()
    # As if dropout had left node 2 one neighbour, whose attention the softmax has put next to zero.
    alpha = torch.tensor([1e-40], requires_grad=True)
    y = conv._finish(conv._centre(alpha.unsqueeze(-1) * conv._widen(x[:1]), torch.float32))
    origin = conv.manifold.origin(5)
    torch.testing.assert_close(y[0], origin.to(y.dtype))
    (grad,) = torch.autograd.grad(y.sum(), alpha)
    assert grad.isfinite().all()
