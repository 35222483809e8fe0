"""Whole networks: one signature, layer counts, graph forms, learning, and what spectral training may touch."""

from __future__ import annotations

import copy
import io

import geoopt
import pytest
import torch
import torch.nn.functional as F
from layer_cases import off_manifold, sparse_adjacency, sparse_features

import hypersst
from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.models import HyboNet, build
from hypersst.models.gps import GPS, GPSLayer
from hypersst.models.sgformer import SimpleAttention
from hypersst.nn import CSRMatrix, GCNConv, LiftedFeatures, LorentzConv, MobiusConv, receptive_field
from hypersst.nn.losses import multi_margin_loss
from hypersst.spectral import find_targets

# tests/models/test_hyperbolic_gnn.py has the others.
NAMES = ("gat", "gcn", "gps", "hgcn", "hybonet", "hypformer", "mlp", "sage", "sgformer")
HYPERBOLIC = ("hgcn", "hybonet", "hypformer")
LORENTZ = ("hybonet", "hypformer")
#: What can be computed from a receptive field.
CUT = ("gcn", "hgcn", "hybonet", "mlp")
TARGETS = {
    "gat": ["layers.{}.lin"],
    "gcn": ["layers.{}.lin"],
    "gps": [
        "layers.{}.conv.lin",
        *(f"layers.{{}}.attention.{name}_proj" for name in ("q", "k", "v", "out")),
        "layers.{}.linear1",
        "layers.{}.linear2",
    ],
    "hgcn": ["layers.{}.lin"],
    "hybonet": ["layers.{}.lin"],
    "hypformer": ["graph.layers.{}.lin"],
    "mlp": ["layers.{}"],
    "sage": ["layers.{}.lin", "layers.{}.lin_root"],
    "sgformer": ["layers.{}.lin"],
}
#: Those that are not in a layer of which there are two.
SINGLE_TARGETS = {
    "gps": ["embed", "embed_positions"],
    "hypformer": [
        "embed",
        *(f"attention.0.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj", "residual")),
        "far",
        "near",
    ],
    "sgformer": ["embed", *(f"attention.{name}_proj" for name in ("q", "k", "v"))],
}


def community_graph(seed=0):
    """Two groups of 20 nodes, dense inside and thin between, undirected; features hint at the group."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(40) // 20
    chance = torch.where(y.unsqueeze(0) == y.unsqueeze(1), 0.3, 0.02)
    upper = (torch.rand(40, 40, generator=generator) < chance).triu(1)
    edge_index = (upper | upper.t()).nonzero().t()
    x = torch.randn(40, 12, generator=generator) + y.unsqueeze(1) * torch.randn(12, generator=generator)
    return x, edge_index, y


def make(name, out_channels=2, num_layers=3, seed=0, **options):
    torch.manual_seed(seed)
    return build(name, 12, 8, num_layers, out_channels, **options)


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_counted_as_hgcn_does(name):
    def layers(model):
        return model.graph.layers if name == "hypformer" else model.layers

    assert len(layers(make(name, 2, 3))) == 2
    assert len(layers(make(name, None, 3))) == 3
    assert make(name, None).head is None
    assert make(name, 2).head is not None


@pytest.mark.parametrize("name", NAMES)
def test_shapes_for_both_tasks(name):
    x, edge_index, _ = community_graph()
    assert make(name, 5)(x, edge_index).shape == (40, 5)
    model = make(name, None)
    z = model(x, edge_index)
    torch.testing.assert_close(z, model.encode(x, edge_index))
    assert z.shape == (40, 9 if name in LORENTZ else 8)
    assert model.decode(z, edge_index[:, :7]).shape == (7,)


# PyG's gcn_norm builds its matrix without saying whether to check it, which torch warns of.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("out_channels", [None, 3])
@pytest.mark.parametrize("name", NAMES)
def test_edges_sparse_adjacency_and_prepared_matrix_agree(name, out_channels, sparse):
    _, edge_index, _ = community_graph()
    model = make(name, out_channels, activation="relu").double()
    x = sparse_features(40, 12)
    features = CSRMatrix.from_dense(x) if sparse else x
    expected = model(x, edge_index)
    torch.testing.assert_close(model(features, edge_index), expected)
    prepared = model.adjacency(edge_index, 40).to(torch.float64)
    torch.testing.assert_close(model(features, prepared), expected, rtol=1e-6, atol=1e-6)
    adj_t = sparse_adjacency(edge_index, torch.ones(edge_index.size(1)).double(), 40)
    torch.testing.assert_close(model(features, adj_t), expected)


@pytest.mark.parametrize("name", NAMES)
def test_permuting_the_nodes_permutes_the_scores(name):
    x, edge_index, _ = community_graph()
    model = make(name).double()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    found = model(x.double()[order], order.argsort()[edge_index])
    torch.testing.assert_close(found, model(x.double(), edge_index)[order])


@pytest.mark.parametrize("name", NAMES)
def test_node_classification_learns_two_groups(name):
    x, edge_index, y = community_graph()
    model = make(name)
    adjacency = model.adjacency(edge_index, 40)
    optimizer = geoopt.optim.RiemannianAdam(model.parameters(), lr=0.02)
    train = torch.arange(0, 40, 4)
    for _ in range(60):
        optimizer.zero_grad()
        model.node_loss(model(x, adjacency)[train], y[train]).backward()
        optimizer.step()
    assert (model(x, adjacency).argmax(dim=1) == y).float().mean() > 0.85


@pytest.mark.parametrize("name", NAMES)
def test_link_prediction_tells_edges_from_pairs_across_groups(name):
    x, edge_index, y = community_graph()
    model = make(name, None, 2)
    adjacency = model.adjacency(edge_index, 40)
    optimizer = geoopt.optim.RiemannianAdam(model.parameters(), lr=0.02)
    pos = edge_index[:, y[edge_index[0]] == y[edge_index[1]]]
    generator = torch.Generator().manual_seed(0)
    neg = torch.stack(
        (
            torch.randint(20, pos.shape[1:], generator=generator),
            20 + torch.randint(20, pos.shape[1:], generator=generator),
        )
    )
    for _ in range(60):
        optimizer.zero_grad()
        z = model(x, adjacency)
        model.link_loss(model.decode(z, pos), model.decode(z, neg)).backward()
        optimizer.step()
    z = model(x, adjacency)
    positive, negative = model.decode(z, pos), model.decode(z, neg)
    # ROC-AUC by its definition: the share of pairs in the right order.
    assert (positive.unsqueeze(1) > negative.unsqueeze(0)).float().mean() > 0.9


@pytest.mark.parametrize("options", [{}, {"learnable_c": True}, {"c": 0.4}])
@pytest.mark.parametrize("name", HYPERBOLIC)
def test_embeddings_stay_on_the_manifold_through_three_steps(name, options):
    x, edge_index, y = community_graph()
    model = make(name, 2, activation="relu", **options)
    optimizer = geoopt.optim.RiemannianAdam(model.parameters(), lr=0.05)

    def curvatures():
        return [m.c.item() for m in model.modules() if isinstance(m, Lorentz | PoincareBall)]

    before = curvatures()
    for _ in range(3):
        optimizer.zero_grad()
        model.node_loss(model(x, edge_index), y).backward()
        optimizer.step()
        z = model.encode(x, edge_index).detach()
        assert off_manifold(z, model.manifold) < 16 * torch.finfo(torch.float32).eps
    # Not each: the last exponential map and the logarithm of a tangent head cancel, whatever their curvature.
    assert (curvatures() != before) == bool(options.get("learnable_c"))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_the_task_gets_a_finite_gradient(name):
    x, edge_index, y = community_graph()
    x[3] = 0.0
    options = {"learnable_c": True} if name in HYPERBOLIC else {}
    for out_channels in (2, None):
        model = make(name, out_channels, **options)
        z = model(x, edge_index)
        if out_channels is None:
            loss = model.link_loss(model.decode(z, edge_index), model.decode(z, edge_index.roll(3, 1)))
        else:
            loss = model.node_loss(z, y)
        loss.backward()
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_only(name):
    x, edge_index, _ = community_graph()
    model = make(name, dropout=0.5)
    assert not torch.allclose(model(x, edge_index), model(x, edge_index))
    model.eval()
    torch.testing.assert_close(model(x, edge_index), model(x, edge_index), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_spectral_targets_are_the_weights_of_the_encoder_and_not_the_head(name):
    expected = [target.format(i) for target in TARGETS[name] for i in (0, 1)] + SINGLE_TARGETS.get(name, [])
    model = make(name)
    assert sorted(t.name for t in find_targets(model)) == sorted(expected)
    matrices = {n for n, p in model.named_parameters() if p.dim() == 2 and not n.startswith("head.")}
    assert matrices - {f"{n}.weight" for n in expected} == (
        {f"layers.{i}.att_{end}" for i in (0, 1) for end in ("src", "dst")} if name == "gat" else set()
    )


@pytest.mark.parametrize("name", NAMES)
def test_spectralize_and_merge_leave_the_network(name):
    x, edge_index, _ = community_graph()
    model = make(name, activation="relu").double()
    x = 0.3 * x.double()
    before = model(x, edge_index)
    hypersst.spectralize(model, rank=2)
    torch.testing.assert_close(model(x, edge_index), before)
    hypersst.merge(model)
    torch.testing.assert_close(model(x, edge_index), before)


@pytest.mark.parametrize("name", NAMES)
def test_only_prototypes_are_manifold_parameters(name):
    found = [n for n, p in make(name).named_parameters() if isinstance(p, geoopt.ManifoldParameter)]
    assert found == (["head.prototypes"] if name == "hybonet" else [])


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_state_dicts_hold_the_model(name):
    x, edge_index, _ = community_graph()
    model = make(name)
    expected = model(x, edge_index)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make(name, seed=1)
    assert not torch.allclose(other(x, edge_index), expected)
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(other(x, edge_index), expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(model)(x, edge_index), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_double_reaches_every_part(name):
    x, edge_index, _ = community_graph()
    model = make(name)
    x = 0.2 * x  # within the smaller radius that float32 allows
    single = model(x, edge_index)
    both = model.double()(x.double(), edge_index)
    assert both.dtype == torch.float64
    torch.testing.assert_close(both.float(), single, rtol=1e-3, atol=1e-3)


def test_hgcn_trains_a_curvature_for_each_layer_and_the_embeddings():
    model = make("hgcn", None, 2, learnable_c=True)
    curvatures = {id(p) for n, p in model.named_parameters() if "manifold" in n}
    assert len(curvatures) == 3
    assert model.layers[0].out_manifold is model.layers[1].manifold


def test_hgcn_runs_on_the_lorentz_manifold_too():
    x, edge_index, _ = community_graph()
    model = make("hgcn", None, 2, manifold="lorentz")
    z = model(x, edge_index)
    assert z.shape == (40, 9)
    assert isinstance(model.manifold, Lorentz)
    assert all(isinstance(layer, MobiusConv) for layer in model.layers)


@pytest.mark.parametrize("time", ["gated", "recomputed", "hyperplane"])
def test_hybonet_takes_all_three_linear_forms(time):
    x, edge_index, _ = community_graph()
    model = make("hybonet", time=time, activation="relu")
    assert model(x, edge_index).isfinite().all()
    assert [layer.lin.time for layer in model.layers] == [time, time]
    assert [layer.lin.activation for layer in model.layers] == [None, torch.relu]
    assert all(isinstance(layer, LorentzConv) for layer in model.layers)


def test_losses_are_those_of_the_papers():
    logits, y = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    pos, neg = torch.randn(5), torch.randn(5)
    hybonet = make("hybonet", margin=0.7)
    weight = torch.tensor([0.5, 1.0, 2.0])
    torch.testing.assert_close(hybonet.node_loss(logits, y), multi_margin_loss(logits, y, 0.7))
    torch.testing.assert_close(hybonet.node_loss(logits, y, weight), multi_margin_loss(logits, y, 0.7, weight))
    torch.testing.assert_close(hybonet.link_loss(pos, neg), (0.7 - pos + neg).relu().mean())
    labels = torch.cat((torch.ones(5), torch.zeros(5)))
    expected = F.binary_cross_entropy_with_logits(torch.cat((pos, neg)), labels)
    for name in ("hgcn", "gcn", "mlp"):
        torch.testing.assert_close(make(name).node_loss(logits, y), F.cross_entropy(logits, y))
        torch.testing.assert_close(make(name).node_loss(logits, y, weight), F.cross_entropy(logits, y, weight))
        torch.testing.assert_close(make(name).link_loss(pos, neg), expected)


def test_the_mlp_does_not_see_the_graph():
    x, edge_index, _ = community_graph()
    model = make("mlp")
    torch.testing.assert_close(model(x, edge_index), model(x, edge_index[:, :1]))


def test_hybonet_on_the_reference_sizes_has_the_reference_number_of_weights():
    # Cora, dim 16 with the time coordinate: 16 × 1434 + 16 × 16 weights, biases and scales, 7 prototypes and biases.
    model = HyboNet(1433, 15, 3, 7)
    expected = (16 * 1434 + 16 + 1) + (16 * 16 + 16 + 1) + 7 * 16 + 7
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_bad_arguments_are_refused(name):
    with pytest.raises(ValueError, match=r"`num_layers` must be at least 2 for node classification.*, got 1"):
        build(name, 12, 8, 1, 2)
    with pytest.raises(ValueError, match="`num_layers` must be at least 1 for link prediction, got 0"):
        build(name, 12, 8, 0)
    with pytest.raises(ValueError, match="`in_channels` must be at least 1, got 0"):
        build(name, 0, 8, 2)
    with pytest.raises(ValueError, match=r"`dropout` must be at least 0 and below 1, got -0\.1"):
        build(name, 12, 8, 2, dropout=-0.1)
    with pytest.raises(ValueError, match="`x` must have in_channels"):
        build(name, 12, 8, 2)(torch.zeros(4, 5), torch.zeros(2, 0, dtype=torch.long))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"`model` must be one of .*, got 'hybonett'; did you mean hybonet"):
        build("hybonett", 4, 8, 2)
    with pytest.raises(ValueError, match="`manifold` must be one of ball, lorentz, got 'sphere'"):
        build("hgcn", 4, 8, 2, manifold="sphere")
    with pytest.raises(ValueError, match="`learnable_c` must be False for a Euclidean model"):
        build("gcn", 4, 8, 2, learnable_c=True)


@pytest.mark.parametrize("name", CUT)
def test_a_receptive_field_gives_the_results_and_gradients_of_the_whole_graph(name):
    x, edge_index, y = community_graph()
    model = make(name, num_layers=4).double()
    adjacency = model.adjacency(edge_index, 40)
    nodes = torch.tensor([3, 31, 12])
    field, blocks = receptive_field(adjacency.to(torch.float64), nodes, model.depth)
    results = []
    for out in (model(x.double(), adjacency)[nodes], model(model.features(x[field].double()), blocks)):
        loss = model.node_loss(out, y[nodes])
        grads = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        results.append((out, *(g for g in grads if g is not None)))
    assert len(results[0]) == len(results[1])
    for whole, part in zip(*results, strict=True):
        torch.testing.assert_close(part, whole)


@pytest.mark.parametrize("name", [name for name in CUT if name != "mlp"])
def test_a_receptive_field_of_another_depth_is_refused(name):
    x, edge_index, _ = community_graph()
    model = make(name, num_layers=4)
    field, blocks = receptive_field(model.adjacency(edge_index, 40), torch.arange(4), model.depth - 1)
    with pytest.raises(ValueError, match="`adj` must hold a matrix for each of the"):
        model(x[field], blocks)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in CUT])
def test_models_of_the_whole_graph_refuse_a_receptive_field(name):
    x, edge_index, _ = community_graph()
    model = make(name)
    assert model.depth is None
    adjacency = model.adjacency(edge_index, 40)
    with pytest.raises(ValueError, match="`adj` must be the whole graph for a model whose `depth` is None, got 2"):
        model(x, [adjacency, adjacency])


@pytest.mark.parametrize("name", HYPERBOLIC)
def test_features_are_lifted_for_good_unless_the_curvature_is_learned(name):
    x, edge_index, _ = community_graph()
    model = make(name)
    lifted = model.features(x)
    assert isinstance(lifted, LiftedFeatures)
    assert lifted.shape == x.shape
    assert model.features(lifted) is lifted
    torch.testing.assert_close(model(lifted, edge_index), model(x, edge_index))
    assert make(name, learnable_c=True).features(x) is x


def test_graph_sage_keeps_its_own_features_beside_its_neighbours():
    x, edge_index, _ = community_graph()
    model = make("sage", num_layers=2)
    lonely = model(x, edge_index[:, :0])
    assert not torch.allclose(lonely, model(x, edge_index))
    torch.testing.assert_close(lonely[:1], model(x[:1], edge_index[:, :0]))


@pytest.mark.parametrize("name", ["gps", "sgformer", "hypformer"])
def test_a_transformer_lets_nodes_far_apart_see_each_other(name):
    x, edge_index, _ = community_graph()
    model = make(name, num_layers=2, activation="tanh")
    apart = edge_index[:, (edge_index >= 30).all(0) | (edge_index < 30).all(0)]
    x = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(model(x, apart)[0].square().sum(), x)
    assert (grad[30:].abs().sum(1) > 0).all()


def test_gps_sees_positions_and_wants_its_own_matrices():
    _, edge_index, _ = community_graph()
    model = make("gps")
    alike = torch.ones(40, 12)
    assert model(alike, edge_index).std(0).min() > 1e-3
    with pytest.raises(TypeError, match=r"`adj` must be edges, a torch sparse tensor or .* got CSRMatrix"):
        model(alike, make("gcn").adjacency(edge_index, 40))


@pytest.mark.parametrize(("channels", "heads"), [(8, 1), (16, 1), (40, 2), (64, 4)])
def test_heads_of_gps_have_at_least_16_dimensions_where_there_are_as_many(channels, heads):
    assert GPS(5, channels, 2).layers[0].attention.heads == heads


def test_gps_layer_is_its_equation():
    torch.manual_seed(0)
    layer = GPSLayer(8, 2, torch.tanh).double()
    x, edge_index = torch.randn(40, 8).double(), community_graph()[1]
    m = layer.norm1(x + layer.conv(x, edge_index))
    t = layer.norm2(x + layer.attention(x))
    y = layer.norm3(m + t + layer.linear2(torch.tanh(layer.linear1(m + t))))
    torch.testing.assert_close(layer(x, edge_index), y)
    assert isinstance(layer.conv, GCNConv)


def test_simple_attention_is_its_matrix_of_cosines():
    torch.manual_seed(0)
    layer = SimpleAttention(6).double()
    x = torch.randn(9, 6).double()
    q, k = (p(x) / p(x).norm(dim=1, keepdim=True) for p in (layer.q_proj, layer.k_proj))
    weights = q @ k.t() / 9 + torch.eye(9)
    torch.testing.assert_close(layer(x), (weights / weights.sum(1, keepdim=True)) @ layer.v_proj(x))


def test_simple_attention_survives_keys_that_are_the_opposite_of_the_query():
    layer = SimpleAttention(2)
    with torch.no_grad():
        layer.q_proj.weight.copy_(torch.eye(2))
        layer.k_proj.weight.copy_(-torch.eye(2))
        for projection in (layer.q_proj, layer.k_proj, layer.v_proj):
            projection.bias.zero_()
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0]], requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.isfinite().all() and y.abs().max() < 1e4
    assert x.grad.isfinite().all()


def test_each_weight_of_the_branches_is_what_is_asked_for():
    x, edge_index, _ = community_graph()
    model = make("sgformer", None, graph_weight=1.0)
    with torch.no_grad():
        model.attention.v_proj.weight.fill_(7.0)
    reference = make("sgformer", None, graph_weight=1.0)
    torch.testing.assert_close(model(x, edge_index), reference(x, edge_index))
    alone = make("sgformer", None, graph_weight=0.0)
    torch.testing.assert_close(alone(x, edge_index), alone(x, edge_index[:, :3]))
    graph, far = make("hypformer", None, graph_weight=0.999), make("hypformer", None, graph_weight=0.001)
    moved = (graph(x, edge_index) - graph(x, edge_index[:, :3])).norm()
    assert (far(x, edge_index) - far(x, edge_index[:, :3])).norm() < 0.01 * moved


def test_bad_options_of_single_models_are_refused():
    for name in ("gat", "gps", "hypformer"):
        with pytest.raises(ValueError, match="`heads` must divide `hidden_channels` = 8, got 3"):
            make(name, heads=3)
    with pytest.raises(ValueError, match="`walk_length` must be at least 1, got 0"):
        make("gps", walk_length=0)
    with pytest.raises(ValueError, match=r"`graph_weight` must be between 0 and 1, got 1\.5"):
        make("sgformer", graph_weight=1.5)
    with pytest.raises(ValueError, match=r"`graph_weight` must be above 0 and below 1, got 0\.0"):
        make("hypformer", graph_weight=0.0)
    x, edge_index, _ = community_graph()
    points = make("hybonet").features(x)
    with pytest.raises(TypeError, match="`x` must be features or what this model's `features` made of them"):
        make("hypformer")(points, edge_index)
    with pytest.raises(TypeError, match="`x` must be Euclidean for a Euclidean model, got LiftedFeatures"):
        make("gps")(points, edge_index)
