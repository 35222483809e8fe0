"""Airport and Disease: small stand-ins made here, and the real files against HGCN's numbers."""

import networkx as nx
import pytest
import torch
from data_cases import airport_files, real_data

from hypersst.datasets import Graph, load, split_graph
from hypersst.datasets.hgcn import append_degrees, read_airport


def test_airport_classes_are_the_fifth_column_cut_in_four():
    graph = read_airport(airport_files())
    assert graph.y.tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert graph.num_classes == 4


def test_airport_nodes_keep_the_order_of_the_file_and_the_self_loop():
    graph = read_airport(airport_files())
    assert graph.pairs.tolist() == [[0, 1, 2, 3, 4, 5, 6], [6, 6, 6, 6, 6, 6, 6]]


@pytest.mark.parametrize(("keep_label", "columns"), [(False, 4), (True, 5)])
def test_the_label_column_is_a_feature_only_where_asked_for(keep_label, columns):
    x = read_airport(airport_files(), keep_label=keep_label, normalize=False).x
    assert x.shape == (7, columns)
    assert x[0, :4].tolist() == [1.0, 2.0, -1.0, 2.0]
    if keep_label:
        assert torch.equal(x[:, 4], torch.tensor([0.9, 1.0, 1.1, 1.15, 1.2, 1.29, 1.3]))


def test_degrees_are_cut_at_five_and_followed_by_ones():
    task = split_graph(Graph("g", torch.zeros(9, 2), _star(8), torch.arange(9) // 3, _thirds(9)))
    x = append_degrees(task).x
    assert x.shape == (9, 2 + 6 + 1)
    assert x[0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert x[1].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_degrees_for_link_prediction_count_training_edges_only():
    ring = torch.stack((torch.arange(40), (torch.arange(40) + 1) % 40)).sort(dim=0).values
    task = split_graph(Graph("g", torch.zeros(40, 1), ring, torch.empty(0)), "lp")
    degree = append_degrees(task).x[:, 1:7].argmax(dim=1)
    assert torch.equal(degree, torch.bincount(task.edge_index[0], minlength=40))
    # Of 40 edges 2 + 4 are held out: 12 ends less than the ring's two per node.
    assert int(degree.sum()) == 80 - 12


def _star(leaves):
    return torch.stack((torch.zeros(leaves, dtype=torch.long), torch.arange(1, leaves + 1)))


def _thirds(n):
    return tuple(torch.arange(n).split(n // 3))


@pytest.mark.data
@pytest.mark.parametrize(("task", "split", "features"), [("nc", "clean", 11), ("lp", "clean", 11), ("lp", "hgcn", 12)])
def test_airport_has_the_published_counts(task, split, features):
    built = load("airport", task=task, split=split, data_dir=real_data())
    assert (built.num_nodes, built.num_edges, built.num_features) == (3188, 18630, features)
    assert torch.bincount(built.y).tolist() == [521, 1443, 999, 225]
    tail = built.x[:, -7:]
    assert torch.equal(tail[:, :6].sum(dim=1), torch.ones(3188))
    assert torch.equal(tail[:, 6], torch.ones(3188))


@pytest.mark.data
def test_clean_airport_nodes_do_not_overlap():
    task = load("airport", seed=1234, data_dir=real_data())
    parts = (task.train, task.val, task.test)
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(3188))
    assert [part.numel() for part in parts] == [2232, 478, 478]


@pytest.mark.data
def test_hgcn_airport_nodes_leak_in_the_published_numbers():
    task = load("airport", split="hgcn", seed=1234, data_dir=real_data())
    assert (task.train.numel(), task.train.unique().numel()) == (3364, 2691)
    assert (task.test.numel(), task.test.unique().numel()) == (524, 506)
    both = set(task.train.tolist()) & set(task.test.tolist())
    assert len(both) == 225
    assert len(set(task.val.tolist()) & set(task.test.tolist())) == 43


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "split", "val", "test", "train"),
    [
        ("airport", "hgcn", 931, 1863, 15837),
        ("airport", "clean", 931, 1863, 15836),  # without the self-loop
        ("disease", "hgcn", 133, 266, 2265),
        ("disease", "clean", 133, 266, 2265),
    ],
)
def test_edges_are_held_out_in_the_literatures_numbers(name, split, val, test, train):
    task = load(name, task="lp", split=split, seed=1234, data_dir=real_data())
    assert task.val_pos.shape == task.val_neg.shape == (2, val)
    assert task.test_pos.shape == task.test_neg.shape == (2, test)
    assert task.train_pos.shape == (2, train)


@pytest.mark.data
def test_disease_is_a_tree_with_the_published_counts_and_raw_features():
    task = load("disease", data_dir=real_data())
    assert (task.num_nodes, task.num_edges, task.num_features) == (2665, 2664, 11)
    assert torch.bincount(task.y).tolist() == [1605, 1060]
    assert nx.is_tree(nx.Graph(task.edge_index.t().tolist()))
    assert (task.x.sum(dim=1) - 1).abs().max() > 1
    assert [part.numel() for part in (task.train, task.val, task.test)] == [800, 266, 1599]


@pytest.mark.data
def test_only_children_of_infected_nodes_are_infected_in_the_published_tree():
    # What `disease_tree` copies: nodes are numbered away from the root 0, so the smaller end is the parent.
    task = load("disease", data_dir=real_data())
    parent, child = task.edge_index[:, task.edge_index[0] < task.edge_index[1]]
    assert (task.y[child] <= task.y[parent]).all()
    from hypersst.datasets.disease_tree import tree_places

    order = child.argsort()
    assert torch.equal(child[order], torch.arange(1, 2665))
    places = tree_places(parent[order])
    assert torch.allclose(places.float(), task.x[:, 10], rtol=0, atol=1e-6)
