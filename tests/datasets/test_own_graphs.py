"""Tensors and networkx graphs as tasks."""

import networkx as nx
import numpy as np
import pytest
import torch
from data_cases import as_set

from hypersst.datasets import from_edges, from_networkx
from hypersst.datasets.features import sparse_rows

_RING = torch.stack((torch.arange(40), (torch.arange(40) + 1) % 40))


def test_direction_and_repeats_are_dropped():
    both = torch.cat((_RING, _RING.flip(0), _RING), dim=1)
    once, again = from_edges(_RING, y=torch.arange(40) // 20), from_edges(both, y=torch.arange(40) // 20)
    assert torch.equal(once.edge_index, again.edge_index)
    assert once.num_edges == 40


def test_a_graph_without_features_gets_one_indicator_per_node():
    task = from_edges(_RING, task="lp", num_nodes=43)
    assert task.num_nodes == 43
    assert task.x.layout == torch.sparse_csr
    assert torch.equal(task.x.to_dense(), torch.eye(43))


@pytest.mark.parametrize("layout", [torch.strided, torch.sparse_csr, torch.sparse_coo])
def test_features_are_taken_as_they_are_or_as_sparse_rows(layout):
    x = torch.eye(40)
    given = {torch.strided: x, torch.sparse_csr: sparse_rows(x), torch.sparse_coo: x.to_sparse_coo()}[layout]
    task = from_edges(_RING, given, task="lp")
    assert task.x.layout == (torch.strided if layout == torch.strided else torch.sparse_csr)
    assert torch.equal(task.x.to_dense(), x)


def test_own_indices_are_the_split():
    public = torch.arange(10), torch.arange(10, 20), torch.arange(20, 40)
    task = from_edges(_RING, y=torch.arange(40) % 2, split="public", public=public)
    assert all(torch.equal(a, b) for a, b in zip((task.train, task.val, task.test), public, strict=True))


def test_networkx_nodes_are_numbered_in_their_order_and_classes_sorted():
    graph = nx.Graph()
    rng = np.random.default_rng(0)
    names = [f"node {i}" for i in rng.permutation(30)]
    for i, node in enumerate(names):
        graph.add_node(node, where=[float(i), 1.0], kind="ab"[i % 2])
    graph.add_edges_from((names[i], names[(i + 1) % 30]) for i in range(30))
    task = from_networkx(graph, features="where", label="kind")
    assert torch.equal(task.x[:, 0], torch.arange(30.0))
    assert torch.equal(task.y, torch.arange(30) % 2)
    assert {(min(p), max(p)) for p in as_set(task.edge_index)} == {(0, 29), *((i, i + 1) for i in range(29))}


def test_a_directed_multigraph_becomes_a_simple_graph():
    graph = nx.MultiDiGraph([(i, (i + 1) % 25) for i in range(25)] + [(1, 0), (0, 1)])
    assert from_networkx(graph, task="lp").num_edges == 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`y` must be given for node classification"),
        (
            {"x": torch.ones(40, 2), "num_nodes": 41, "task": "lp"},
            "`num_nodes` must equal the rows of `x` = 40, got 41",
        ),
        ({"x": torch.full((40, 2), torch.nan), "task": "lp"}, "`x` must be finite, got nan at row 0, column 0"),
        ({"x": torch.ones(39, 2), "task": "lp"}, r"`edge_index` must lie in \[0, 39\), got 39 in column 38"),
        ({"y": torch.zeros(41, dtype=torch.long), "x": torch.ones(40, 2)}, r"`y` must have shape \(40,\)"),
        ({"num_nodes": 30, "task": "lp"}, r"`edge_index` must lie in \[0, 30\), got 30"),
        ({"task": "np"}, "`task` must be one of nc, lp"),
    ],
)
def test_faults_of_own_graphs_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        from_edges(_RING, **options)


def test_an_attribute_that_a_node_lacks_is_named():
    graph = nx.path_graph(3)
    with pytest.raises(ValueError, match="`label` must name an attribute of every node, got 'club': none at 0"):
        from_networkx(graph, label="club")
