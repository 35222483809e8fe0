"""Parts are balanced, hold together, and need no helper package."""

import networkx as nx
import numpy as np
import pytest
import torch

from hypersst.datasets import cut_share, load, partition
from hypersst.datasets.partition import SLACK, _preorder, _rank, _refine, _symmetric


def _edges(graph: nx.Graph) -> torch.Tensor:
    return torch.tensor(list(nx.convert_node_labels_to_integers(graph).edges)).t()


GRAPHS = {
    "synthetic": lambda: load("synthetic", nodes=2000).edge_index,
    "disease-tree": lambda: load("disease-tree").edge_index,
    "grid": lambda: _edges(nx.grid_2d_graph(30, 30)),
    "clusters": lambda: _edges(nx.planted_partition_graph(5, 60, 0.3, 0.005, seed=0)),
}
# Largest shares of cut edges at five parts; dealing at random cuts 80 %.
CUTS = {"synthetic": 0.45, "disease-tree": 0.05, "grid": 0.12, "clusters": 0.45}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("parts", [2, 5, 37])
def test_parts_are_balanced_and_none_is_empty(name: str, parts: int) -> None:
    edges = GRAPHS[name]()
    nodes = int(edges.max()) + 1
    sizes = partition(edges, nodes, parts).bincount(minlength=parts)
    assert sizes.numel() == parts
    mean = nodes / parts
    assert sizes.max() <= np.ceil(mean * (1 + SLACK))
    assert sizes.min() >= np.floor(mean * (1 - SLACK))


@pytest.mark.parametrize("name", GRAPHS)
def test_few_edges_lead_from_part_to_part(name: str) -> None:
    edges = GRAPHS[name]()
    assert cut_share(edges, partition(edges, int(edges.max()) + 1, 5)) < CUTS[name]


def test_a_path_is_cut_into_pieces() -> None:
    edges = torch.stack((torch.arange(999), torch.arange(1, 1000)))
    part = partition(edges, 1000, 8)
    # The tree's root, an inner node of degree two, sees two branches: one part may hold the end of one and the
    # beginning of the other.
    assert int((part[1:] != part[:-1]).sum()) <= 8


def test_subtrees_are_intervals_of_the_order() -> None:
    tree = load("disease-tree")
    place = _preorder(_symmetric(tree.edge_index.numpy(), tree.num_nodes))
    assert sorted(place) == list(range(tree.num_nodes))
    root = int(np.argmin(place))
    directed = nx.bfs_tree(nx.Graph(tree.edge_index.t().tolist()), root)
    for node in range(0, tree.num_nodes, 7):
        below = place[list(nx.descendants(directed, node) | {node})]
        assert below.max() - below.min() + 1 == below.size
        assert below.min() == place[node]


def test_refinement_lowers_the_cut_and_keeps_sizes_within_bounds() -> None:
    edges = GRAPHS["clusters"]()
    graph = _symmetric(edges.numpy(), 300)
    part = np.random.default_rng(0).permutation(300) * 5 // 300
    cut = cut_share(edges, torch.from_numpy(part))
    random = np.random.default_rng(0)
    moved = [_refine(graph, part, 5, random) for _ in range(10)]
    assert moved[0] > 0
    assert cut_share(edges, torch.from_numpy(part)) < cut - 0.1
    sizes = np.bincount(part)
    assert sizes.max() <= 63
    assert sizes.min() >= 57


def test_components_and_isolated_nodes_are_dealt_too() -> None:
    edges = torch.tensor([[0, 1, 5, 6], [1, 2, 6, 7]])
    part = partition(edges, 12, 4)
    assert part.bincount(minlength=4).tolist() == [3, 3, 3, 3]
    assert cut_share(edges, part) <= 0.5
    assert partition(torch.empty(2, 0, dtype=torch.long), 4, 2).bincount().tolist() == [2, 2]


@pytest.mark.parametrize("parts", [1, 12])
def test_the_extremes_are_one_part_and_one_node_each(parts: int) -> None:
    edges = torch.tensor([[0, 1, 5, 6], [1, 2, 6, 7]])
    assert partition(edges, 12, parts).bincount().tolist() == [12 // parts] * parts


def test_the_seed_decides_the_parts_and_directions_and_repeats_of_edges_do_not_matter() -> None:
    edges = GRAPHS["synthetic"]()
    once = edges[:, edges[0] < edges[1]]
    first = partition(edges, 2000, 5)
    assert torch.equal(first, partition(once, 2000, 5))
    assert torch.equal(first, partition(torch.cat((once, once.flip(0), once), dim=1), 2000, 5))
    assert not torch.equal(first, partition(edges, 2000, 5, seed=1))


def test_ranks_count_equal_labels_before() -> None:
    labels = np.random.default_rng(0).integers(4, size=50)
    assert _rank(labels).tolist() == [int((labels[:i] == labels[i]).sum()) for i in range(50)]


@pytest.mark.parametrize("parts", [0, 13])
def test_impossible_numbers_of_parts_are_refused(parts: int) -> None:
    with pytest.raises(ValueError, match=f"`parts` must be between 1 and the number of nodes = 12, got {parts}"):
        partition(torch.tensor([[0], [1]]), 12, parts)
