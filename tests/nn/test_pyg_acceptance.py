"""PyG's own network code accepts our convolutions."""

from __future__ import annotations

import pytest
import torch
from conv_cases import NAMES, conv_points, make_conv, off
from layer_cases import small_graph
from torch_geometric.data import HeteroData
from torch_geometric.nn import JumpingKnowledge, MessagePassing, Sequential, to_hetero

from hypersst.manifolds import Lorentz
from hypersst.manifolds.stereographic import Stereographic
from hypersst.nn import HGNNConv, LorentzConv, LorentzGATConv, LorentzSAGEConv, TangentHead
from hypersst.nn.origin import log0


@pytest.mark.parametrize("name", NAMES)
def test_pygs_sequential_chains_two_convolutions(name):
    edge_index, n = small_graph()
    options = {"heads": 1} if name == "gat" else {}
    first, second = make_conv(name, **options), make_conv(name, **options)
    second.manifold.load_state_dict(first.manifold.state_dict())
    model = Sequential("x, edge_index, edge_weight", [
        (first, "x, edge_index, edge_weight -> h"),
        (second, "h, edge_index -> h"),
    ])  # fmt: skip
    x, weight = conv_points(first, n), torch.rand(edge_index.size(1), dtype=torch.float64)
    y = model(x, edge_index, weight)
    torch.testing.assert_close(y, second(first(x, edge_index, weight), edge_index))
    assert off(y, second) < 1e-12
    assert isinstance(first, MessagePassing)


class _Renormalize(torch.nn.Module):
    """Lorentz centroid of what `to_hetero` has summed over the types of edges."""

    def __init__(self, manifold):
        super().__init__()
        self.manifold = manifold

    def forward(self, x):
        return self.manifold.normalize(x)


class _Network(torch.nn.Module):
    def __init__(self, kind, manifold, width):
        super().__init__()
        self.conv1, self.conv2 = kind(-1, 8, manifold=manifold), kind(8, width, manifold=manifold)
        self.norm1, self.norm2 = _Renormalize(manifold), _Renormalize(manifold)
        self.head = TangentHead(width, 3, manifold=manifold)

    def forward(self, x, edge_index):
        x = self.norm1(self.conv1(x, edge_index))
        return self.head(self.norm2(self.conv2(x, edge_index)))


def _library(manifold):
    """Papers that cite papers, and authors who write them."""
    data = HeteroData()
    for seed, (kind, n) in enumerate((("paper", 6), ("author", 4))):
        generator = torch.Generator().manual_seed(seed)
        data[kind].x = manifold.from_space(torch.randn(n, 5, generator=generator))
    data["paper", "cites", "paper"].edge_index = small_graph()[0]
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 1, 1, 3], [0, 2, 5, 4]])
    data["paper", "written", "author"].edge_index = torch.tensor([[0, 2, 5, 4], [0, 1, 1, 3]])
    return data


@pytest.mark.parametrize("kind", [LorentzConv, LorentzSAGEConv, LorentzGATConv])
def test_to_hetero_makes_a_network_for_every_type_of_edge(kind):
    manifold = Lorentz()
    data = _library(manifold)
    model = to_hetero(_Network(kind, manifold, 8), data.metadata(), aggr="sum")
    out = model(data.x_dict, data.edge_index_dict)
    assert {k: v.shape for k, v in out.items()} == {"paper": (6, 3), "author": (4, 3)}
    sum(v.square().sum() for v in out.values()).backward()
    weights = [p for n, p in model.named_parameters() if n.endswith("lin.weight")]
    assert len(weights) == 6  # two layers, three types of edges
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in weights)


def test_to_hetero_joins_types_of_edges_by_their_centroid():
    manifold = Lorentz()
    data = _library(manifold)

    class One(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = LorentzConv(5, 3, manifold=manifold), _Renormalize(manifold)

        def forward(self, x, edge_index):
            return self.norm(self.conv(x, edge_index))

    model = to_hetero(One(), data.metadata(), aggr="sum")
    paper, author = data["paper"].x, data["author"].x
    cites = model.conv["paper__cites__paper"](paper, data["cites"].edge_index)
    writes = model.conv["author__writes__paper"]((author, paper), data["writes"].edge_index)
    expected = manifold.centroid(torch.stack((cites, writes), dim=1))
    torch.testing.assert_close(model(data.x_dict, data.edge_index_dict)["paper"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["cat", "max", "lstm"])
@pytest.mark.parametrize("name", ["hybonet", "hgnn-ball", "gat-mean", "kappa-plus"])
def test_jumping_knowledge_joins_the_layers_tangent_vectors(name, mode):
    edge_index, n = small_graph()
    convs = [make_conv(name).float(), make_conv(name).float()]
    x, vectors = conv_points(convs[0], n).float(), []
    for conv in convs:
        x = conv(x, edge_index)
        vectors.append(conv.manifold.logmap0(x) if isinstance(conv.manifold, Stereographic) else log0(x, conv.manifold))
    jump = JumpingKnowledge(mode, channels=4, num_layers=2)
    joined = jump(vectors)
    assert joined.shape == (n, 8 if mode == "cat" else 4)
    joined.sum().backward()
    assert all(p.grad.isfinite().all() for conv in convs for p in conv.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES if n != "gat"])
def test_two_layers_over_sampled_blocks_equal_the_whole_graph_at_the_seeds(name):
    # What `NeighborLoader` feeds a network: each layer sees edges into its targets, the first of its sources.
    edge_index, n = small_graph()
    one, two = make_conv(name), make_conv(name)
    x = conv_points(one, n)
    expected = two(one(x, edge_index), edge_index)
    order, blocks = torch.tensor([1]), []
    for _ in range(2):  # from the seeds outwards
        kept = edge_index[:, torch.isin(edge_index[1], order)]
        fresh = kept[0][~torch.isin(kept[0], order)].unique()
        sources = torch.cat((order, fresh))
        place = torch.full((n,), -1).index_put((sources,), torch.arange(sources.numel()))
        blocks.append((place[kept], order.numel()))
        order = sources
    h = x[order]
    for conv, (edges, targets) in zip((one, two), reversed(blocks), strict=True):
        h = conv((h, h[:targets]), edges, size=(h.shape[0], targets))
    torch.testing.assert_close(h, expected[:2][1:])


def test_symmetric_normalization_is_kipf_and_wellings():
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    edge_index, n = small_graph()
    conv = HGNNConv(4, 4, normalization="sym")
    weight = torch.rand(8)
    edges, values = conv._normalized(edge_index, weight, n, add_self_loops=True, dtype=torch.float32)
    theirs, expected = gcn_norm(edge_index, weight, n)
    torch.testing.assert_close(edges, theirs)
    torch.testing.assert_close(values, expected)
