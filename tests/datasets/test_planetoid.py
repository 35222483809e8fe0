"""Citation graphs out of raw files: a small one made here and the three real ones."""

from itertools import pairwise

import pytest
import torch
from data_cases import planetoid_files, real_data

from hypersst.datasets import load
from hypersst.datasets.planetoid import read_planetoid

_COUNTS = {  # nodes, edges, features, classes, nodes for training, sparse
    "cora": (2708, 5278, 1433, 7, 140, True),
    "citeseer": (3327, 4552, 3703, 6, 120, True),
    "pubmed": (19717, 44324, 500, 3, 60, True),
}


def test_test_nodes_go_to_the_places_that_the_index_gives():
    graph = read_planetoid("tiny", planetoid_files(), normalize=False)
    dense = graph.x.to_dense()
    assert dense.shape == (510, 6)
    for node in (0, 5, 505, 506, 507, 509):
        expected = torch.zeros(6)
        expected[node % 6] = node % 6 + 1
        assert torch.equal(dense[node], expected)
        assert graph.y[node] == node % 2


def test_an_isolated_node_outside_the_index_stays_with_zero_features_and_out_of_the_split():
    graph = read_planetoid("tiny", planetoid_files())
    assert not graph.x.to_dense()[508].any()
    assert graph.y[508] == 0
    assert 508 not in graph.pairs
    assert 508 not in torch.cat(graph.public)


def test_the_published_split_is_first_next_500_and_index():
    train, val, test = read_planetoid("tiny", planetoid_files()).public
    assert train.tolist() == [0, 1, 2, 3]
    assert val.tolist() == list(range(4, 504))
    assert test.tolist() == [506, 507, 509]


def test_repeated_citations_are_one_edge_and_loops_are_known():
    pairs = read_planetoid("tiny", planetoid_files()).pairs
    path = [node for node in range(510) if node != 508]
    expected = [(0, 0), *pairwise(path)]
    assert [tuple(pair) for pair in pairs.t().tolist()] == expected


def test_rows_are_divided_by_their_sums():
    x = read_planetoid("tiny", planetoid_files()).x.to_dense()
    sums = x.sum(dim=1)
    assert torch.equal(sums[:508], torch.ones(508))
    assert sums[508] == 0


@pytest.mark.data
@pytest.mark.parametrize("name", _COUNTS)
def test_real_sets_have_the_published_counts(name):
    nodes, edges, features, classes, train, sparse = _COUNTS[name]
    task = load(name, data_dir=real_data())
    assert (task.num_nodes, task.num_edges, task.num_features, task.num_classes) == (nodes, edges, features, classes)
    assert (task.x.layout == torch.sparse_csr) == sparse
    assert task.x.dtype == torch.float32
    assert task.edge_index.shape == (2, 2 * edges)
    assert (task.train.numel(), task.val.numel(), task.test.numel()) == (train, 500, 1000)
    assert torch.cat((task.train, task.val, task.test)).unique().numel() == train + 1500
    assert torch.bincount(task.y[task.train]).tolist() == [20] * classes
    sums = task.x.to_dense().sum(dim=1)
    # 5e2 float32 additions of terms that sum to one.
    assert torch.allclose(sums[sums != 0], torch.ones(()), rtol=0, atol=5e2 * torch.finfo(torch.float32).eps)
    # CiteSeer: 15 nodes outside the index have no words.
    assert int((sums == 0).sum()) == (15 if name == "citeseer" else 0)


@pytest.mark.data
@pytest.mark.parametrize("name", _COUNTS)
def test_real_sets_are_those_that_pyg_reads(name):
    from torch_geometric.io import read_planetoid_data

    folder = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}[name]
    data = read_planetoid_data(str(real_data() / "planetoid" / folder / "raw"), name)
    task = load(name, data_dir=real_data(), normalize=False)
    assert torch.equal(task.x.to_dense(), data.x)
    assert torch.equal(task.y, data.y)
    # PyG sorts by target, we by source.
    assert torch.equal(task.edge_index.flip(0), data.edge_index)
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(task, part), data[f"{part}_mask"].nonzero().flatten())


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "split", "val", "test", "train"),
    [
        ("cora", "clean", 263, 527, 4488),
        ("cora", "hgcn", 263, 527, 4488),
        ("pubmed", "clean", 2216, 4432, 37676),
        ("pubmed", "hgcn", 2216, 4432, 37679),  # three self-loops count as edges
    ],
)
def test_real_edges_are_held_out_in_the_literatures_numbers(name, split, val, test, train):
    task = load(name, task="lp", split=split, seed=1234, data_dir=real_data())
    assert task.val_pos.shape == task.val_neg.shape == (2, val)
    assert task.test_pos.shape == task.test_neg.shape == (2, test)
    assert task.train_pos.shape == (2, train)
