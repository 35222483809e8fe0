"""Gromov's delta against all quadruples, and on graphs where it is known."""

from itertools import combinations

import networkx as nx
import pytest
import torch

from hypersst.manifolds import Lorentz
from hypersst.metrics import four_point_delta, graph_distances, gromov_delta
from hypersst.metrics.gromov import max_min_product


def edges_of(graph: nx.Graph) -> torch.Tensor:
    numbered = nx.convert_node_labels_to_integers(graph)
    return torch.tensor(list(numbered.edges), dtype=torch.long).reshape(-1, 2).t()


def slow_delta(distances: torch.Tensor, base: int | None = None) -> float:
    """The definition: every quadruple, its three sums, half the gap between the largest two."""
    d, largest = distances.tolist(), 0.0
    for x, y, z, w in combinations(range(len(d)), 4):
        if base is None or base in (x, y, z, w):
            sums = sorted((d[x][y] + d[z][w], d[x][z] + d[y][w], d[x][w] + d[y][z]))
            largest = max(largest, (sums[2] - sums[1]) / 2)
    return largest


def random_metric(n: int, seed: int = 0) -> torch.Tensor:
    points = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cdist(points, points)


def random_graph(seed: int) -> nx.Graph:
    """Two components and an isolated node."""
    return nx.disjoint_union_all([nx.gnm_random_graph(14, 20, seed=seed), nx.cycle_graph(9), nx.empty_graph(1)])


@pytest.mark.parametrize("block", [1, 20, 2**15])
def test_the_max_min_product_is_that_of_the_definition(block, monkeypatch):
    monkeypatch.setattr("hypersst.metrics.gromov._BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 4, generator=generator), torch.randn(4, 3, generator=generator)
    expected = [[max(min(a[x, z], b[z, y]) for z in range(4)) for y in range(3)] for x in range(5)]
    assert torch.equal(max_min_product(a, b), torch.tensor(expected))


@pytest.mark.parametrize("n", [4, 5, 12])
def test_delta_of_a_metric_is_the_largest_gap_of_all_quadruples(n):
    distances = random_metric(n)
    # Each delta is a difference of a few distances of size one.
    assert four_point_delta(distances).item() == pytest.approx(slow_delta(distances), rel=1e-12)
    for base in range(n):
        assert four_point_delta(distances, base=base).item() == pytest.approx(slow_delta(distances, base), rel=1e-12)


def test_one_base_bounds_delta_from_below_and_twice_it_from_above():
    distances = random_metric(15, seed=1)
    delta = four_point_delta(distances)
    at = torch.stack([four_point_delta(distances, base=w) for w in range(15)])
    assert at.max() == pytest.approx(delta.item(), rel=1e-12)
    assert at.min() < delta  # so the bounds say something
    assert (2 * at >= delta).all()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_fewer_than_four_points_are_a_tree(n):
    assert four_point_delta(random_metric(n)) == 0


def test_points_on_a_geodesic_are_a_tree_and_the_hyperbolic_plane_is_log_2_hyperbolic():
    manifold = Lorentz().double()
    angles = torch.linspace(0, 2 * torch.pi, 17, dtype=torch.float64)[:-1]
    circle = manifold.expmap0_space(6.0 * torch.stack((angles.cos(), angles.sin()), dim=1))
    line = manifold.expmap0_space(torch.linspace(-3, 3, 9, dtype=torch.float64)[:, None] * torch.tensor([[0.6, 0.8]]))
    assert four_point_delta(manifold.dist(line[:, None], line)).item() == pytest.approx(0.0, abs=1e-12)
    # The four-point delta of the hyperbolic plane is log 2; far points on a circle come near it.
    assert 0.9 * 0.6931 < four_point_delta(manifold.dist(circle[:, None], circle)) < 0.6932


@pytest.mark.parametrize("seed", range(3))
def test_delta_of_a_graph_is_the_largest_of_its_components(seed):
    graph = random_graph(seed)
    found = gromov_delta(edges_of(graph), len(graph))
    parts = [graph_distances(edges_of(graph.subgraph(c))) for c in nx.connected_components(graph) if len(c) > 1]
    assert found.exact
    assert found.delta == max(slow_delta(part) for part in parts)
    assert found.diameter == max(part.max().item() for part in parts)


@pytest.mark.parametrize("samples", [None, 10_000])
@pytest.mark.parametrize(
    "graph", [nx.balanced_tree(2, 4), nx.path_graph(9), nx.star_graph(8), nx.complete_graph(7), nx.empty_graph(3)]
)
def test_trees_and_complete_graphs_have_delta_zero(graph, samples):
    found = gromov_delta(edges_of(graph), len(graph), samples=samples, generator=torch.Generator().manual_seed(0))
    assert found.delta == found.relative == 0.0


@pytest.mark.parametrize("n", range(4, 20))
def test_a_cycle_has_a_quarter_of_its_length(n):
    # Known: floor(n / 4), but a half less where n = 1 modulo 4.
    assert gromov_delta(edges_of(nx.cycle_graph(n))).delta == n // 4 - 0.5 * (n % 4 == 1)


@pytest.mark.parametrize(("rows", "columns"), [(2, 5), (3, 3), (4, 6)])
def test_a_grid_has_its_shorter_side(rows, columns):
    found = gromov_delta(edges_of(nx.grid_2d_graph(rows, columns)))
    assert found.delta == rows - 1
    assert found.relative == 2 * (rows - 1) / (rows + columns - 2)


def test_lengths_scale_delta_and_not_the_relative_one():
    edges = edges_of(nx.grid_2d_graph(3, 4))
    plain = gromov_delta(edges)
    scaled = gromov_delta(edges, weight=torch.full((edges.size(1),), 2.5))
    assert scaled.delta == 2.5 * plain.delta > 0
    assert scaled.diameter == 2.5 * plain.diameter
    assert scaled.relative == plain.relative


def test_samples_bound_delta_from_below_and_reach_it():
    edges = edges_of(nx.grid_2d_graph(4, 5))
    exact = gromov_delta(edges)
    few, many = (gromov_delta(edges, samples=m, generator=torch.Generator().manual_seed(0)) for m in (3, 20_000))
    assert not many.exact
    assert few.delta < exact.delta
    # The four corners of the grid's 4 × 4 squares are 2 of its 4845 quadruples: each draw hits one with probability
    # 24 · 2 / 20⁴ = 3e-4, so 20,000 draws miss with probability 0.0025; the seed is fixed.
    assert many.delta == exact.delta
    assert many.diameter == exact.diameter


def test_draws_follow_the_generator_and_leave_the_global_one_alone():
    edges = edges_of(nx.gnm_random_graph(60, 90, seed=1))
    weight = torch.rand(90, generator=torch.Generator().manual_seed(1)) + 0.5
    before = torch.get_rng_state()
    first, second, third = (
        gromov_delta(edges, weight=weight, samples=20, nodes=8, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert first == second
    assert first != third


def test_samples_come_from_the_largest_component():
    graph = nx.disjoint_union(nx.path_graph(30), nx.cycle_graph(16))
    found = gromov_delta(edges_of(graph), samples=5000, generator=torch.Generator().manual_seed(0))
    assert (found.delta, found.diameter) == (0.0, 29.0)


def test_large_graphs_are_sampled_with_memory_for_a_block_of_rows(monkeypatch):
    monkeypatch.setattr("hypersst.metrics.shortest_paths._BLOCK", 3 * 900)
    edges = edges_of(nx.grid_2d_graph(30, 30))
    found = gromov_delta(edges, samples=300_000, nodes=100, generator=torch.Generator().manual_seed(0))
    assert 10 < found.delta <= 29
    assert 50 < found.diameter <= 58


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "`samples` must be at least 1, got 0"),
        ({"samples": 5, "nodes": 3}, "`nodes` must be at least 4, got 3"),
        ({}, "`samples` must be a number of quadruples for a component of more than 500 nodes, got None for 501"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        gromov_delta(edges_of(nx.path_graph(501)), **arguments)


def test_matrices_that_are_no_metric_are_refused():
    with pytest.raises(ValueError, match=r"`distances` must be a square matrix of finite numbers, got shape \(3, 4\)"):
        four_point_delta(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"finite numbers, got .* with others"):
        four_point_delta(torch.full((3, 3), torch.inf))
    with pytest.raises(ValueError, match="`base` must be at least 0 and below 4, got 4"):
        four_point_delta(torch.zeros(4, 4), base=4)
