"""Graph distances against networkx."""

import networkx as nx
import pytest
import torch

from hypersst.metrics import graph_distances


def slow_distances(graph: nx.Graph) -> torch.Tensor:
    found = torch.full((len(graph), len(graph)), torch.inf, dtype=torch.float64)
    for source, lengths in nx.all_pairs_dijkstra_path_length(graph):
        for target, length in lengths.items():
            found[source, target] = length
    return found


def weighted_graph() -> nx.Graph:
    """Two components and an isolated node, lengths from 0.5 to 3."""
    graph = nx.disjoint_union_all([nx.gnm_random_graph(20, 30, seed=2), nx.path_graph(4), nx.empty_graph(1)])
    for i, (u, v) in enumerate(graph.edges):
        graph[u][v]["weight"] = 0.5 + 0.5 * (i % 6)
    return graph


def tensors(graph: nx.Graph) -> tuple[torch.Tensor, torch.Tensor]:
    edges = list(graph.edges(data="weight", default=1.0))
    return torch.tensor([edge[:2] for edge in edges]).t(), torch.tensor([edge[2] for edge in edges])


@pytest.mark.parametrize("block", [1, 60, 2**22])
@pytest.mark.parametrize("weighted", [False, True])
def test_distances_are_those_of_networkx_in_blocks_of_any_size(weighted, block, monkeypatch):
    monkeypatch.setattr("hypersst.metrics.shortest_paths._BLOCK", block)
    graph = weighted_graph()
    if not weighted:
        nx.set_edge_attributes(graph, 1.0, "weight")
    edges, weight = tensors(graph)
    found = graph_distances(edges, len(graph), weight=weight if weighted else None)
    assert torch.equal(found, slow_distances(graph))
    assert found.isinf().any()
    assert torch.equal(found, found.t())


def test_rows_can_be_asked_for():
    edges, weight = tensors(weighted_graph())
    sources = torch.tensor([7, 3, 7])
    expected = graph_distances(edges, weight=weight)[sources]
    assert torch.equal(graph_distances(edges, weight=weight, sources=sources), expected)
    assert graph_distances(edges, sources=sources[:0]).shape == (0, 24)


def test_direction_loops_and_longer_parallel_edges_do_not_matter():
    edges, weight = tensors(weighted_graph())
    loops = torch.tensor([[3, 5], [3, 5]])
    more = torch.cat((edges.flip(0), edges.flip(1), loops), dim=1)
    lengths = torch.cat((weight, weight.flip(0) + 1.0, torch.ones(2)))
    expected = graph_distances(edges, weight=weight)
    assert torch.equal(graph_distances(more, weight=lengths), expected)
    assert torch.equal(graph_distances(more.int()), graph_distances(edges))


def test_a_graph_without_edges_has_only_infinite_distances():
    found = graph_distances(torch.empty(2, 0, dtype=torch.long), 3)
    assert torch.equal(found, torch.full((3, 3), torch.inf, dtype=torch.float64).fill_diagonal_(0.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"edge_index": torch.zeros(3, 2, dtype=torch.long)}, r"`edge_index` must be integers of shape \(2, E\)"),
        ({"edge_index": torch.zeros(2, 2)}, "`edge_index` must be integers .*got torch.float32"),
        ({"num_nodes": 3}, "`edge_index` must hold nodes from 0 to 2, got 0 to 3"),
        ({"edge_index": torch.tensor([[0], [-1]])}, "`edge_index` must hold nodes from 0 to 0, got -1 to 0"),
        ({"weight": torch.ones(2)}, r"`weight` must have shape \(3,\), got \(2,\)"),
        ({"weight": torch.tensor([1.0, 0.0, 2.0])}, "`weight` must be positive and finite, got 0 to 2"),
        ({"weight": torch.tensor([1.0, torch.nan, 2.0])}, "`weight` must be positive and finite"),
        ({"sources": torch.tensor([4])}, r"`sources` must be a list of nodes from 0 to 3, got \[4\]"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        graph_distances(**{"edge_index": torch.tensor([[0, 1, 2], [1, 2, 3]]), **arguments})
