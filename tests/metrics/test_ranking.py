"""Ranks of neighbours against the loops of Nickel and Kiela's protocol."""

import networkx as nx
import pytest
import torch
from sklearn.metrics import average_precision_score

from hypersst.manifolds import Lorentz, PoincareBall
from hypersst.metrics import Reconstruction, mean_average_precision, mean_rank, reconstruction


def slow(points: torch.Tensor, edge_index: torch.Tensor, dist) -> Reconstruction:
    """One node and one neighbour at a time."""
    n = len(points)
    neighbours = {u: {v for s, v in edge_index.t().tolist() if s == u} for u in range(n)}
    ranks, precisions = [], []
    for u in range(n):
        if not neighbours[u]:
            continue
        distances = {w: dist(points[u], points[w]).item() for w in range(n) if w != u}
        for v in neighbours[u]:
            others = [d for w, d in distances.items() if w not in neighbours[u]]
            nearer = sum(d < distances[v] for d in others)
            ranks.append(1 + nearer + 0.5 * sum(d == distances[v] for d in others))
        labels = [w in neighbours[u] for w in distances]
        precisions.append(average_precision_score(labels, [-d for d in distances.values()]))
    return Reconstruction(sum(ranks) / len(ranks), sum(precisions) / len(precisions))


def euclidean(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x - y).norm(dim=-1)


def random_pairs(n: int, count: int, seed: int = 0) -> torch.Tensor:
    """Directed pairs with repeats; some nodes have no neighbours, one has all others."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(n - 2, (2, count), generator=generator)
    everyone = torch.stack((torch.full((n - 1,), n - 2), torch.cat((torch.arange(n - 2), torch.tensor([n - 1])))))
    return torch.cat((pairs[:, pairs[0] != pairs[1]], everyone), dim=1)


def assert_equal(found: Reconstruction, expected: Reconstruction) -> None:
    assert found.mean_rank == pytest.approx(expected.mean_rank, rel=1e-12)
    assert found.mean_average_precision == pytest.approx(expected.mean_average_precision, rel=1e-12)


@pytest.mark.parametrize("chunk_size", [None, 1, 5, 1000])
@pytest.mark.parametrize("kind", ["euclidean", "lorentz", "ball"])
def test_scores_are_those_of_the_loops(kind, chunk_size):
    generator = torch.Generator().manual_seed(1)
    if kind == "euclidean":
        points, dist = torch.randn(30, 2, generator=generator), euclidean
    else:
        manifold = (Lorentz if kind == "lorentz" else PoincareBall)(0.7).double()
        points = manifold.random_normal(30, 2 + (kind == "lorentz"), generator=generator).as_subclass(torch.Tensor)
        dist = manifold.dist
    pairs = random_pairs(30, 60)
    found = reconstruction(points, pairs, dist, chunk_size=chunk_size)
    assert 1 < found.mean_rank < 30
    assert_equal(found, slow(points, pairs, dist))


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_ties_count_half_in_ranks_and_against_precision(levels):
    points = torch.randint(levels, (25, 1), generator=torch.Generator().manual_seed(2)).double()
    pairs = random_pairs(25, 40)
    assert_equal(reconstruction(points, pairs, euclidean), slow(points, pairs, euclidean))


def test_points_all_at_one_place_are_as_bad_as_chance():
    pairs = torch.tensor([[0, 0], [1, 2]])
    found = reconstruction(torch.zeros(11, 2), pairs, euclidean)
    # Eight non-neighbours tie with each of two neighbours.
    assert found.mean_rank == 1 + 8 / 2
    assert found.mean_average_precision == pytest.approx(2 / 10)


def test_a_path_on_a_line_is_reconstructed_perfectly_and_the_reversed_ranking_badly():
    graph = nx.path_graph(12)
    pairs = torch.tensor(list(graph.edges)).t()
    both = torch.cat((pairs, pairs.flip(0)), dim=1)
    line = torch.arange(12.0).unsqueeze(1)
    assert reconstruction(line, both, euclidean) == Reconstruction(1.0, 1.0)
    reversed_ranking = reconstruction(line, both, lambda x, y: -euclidean(x, y))
    # Of a node in the middle the 9 others are nearer in this sense, of an end 10.
    assert reversed_ranking.mean_rank == pytest.approx(1 + (2 * 10 + 20 * 9) / 22)


def test_direction_matters_and_repeats_do_not():
    points = torch.randn(10, 2, generator=torch.Generator().manual_seed(3))
    pairs = random_pairs(10, 12)
    found = reconstruction(points, pairs, euclidean)
    assert reconstruction(points, torch.cat((pairs, pairs), dim=1), euclidean) == found
    assert reconstruction(points, pairs.flip(0), euclidean) != found
    assert reconstruction(points, pairs.int(), euclidean) == found


def test_single_scores_are_those_of_the_pair():
    points = torch.randn(10, 2, generator=torch.Generator().manual_seed(4))
    pairs = random_pairs(10, 12)
    both = reconstruction(points, pairs, euclidean)
    assert mean_rank(points, pairs, euclidean, chunk_size=3) == pytest.approx(both.mean_rank)
    found = mean_average_precision(points, pairs, euclidean, chunk_size=3)
    assert found == pytest.approx(both.mean_average_precision)


def test_memory_is_bounded_by_the_chunk(monkeypatch):
    shapes = []

    def watched(x, y):
        shapes.append(torch.broadcast_shapes(x.shape, y.shape))
        return euclidean(x, y)

    points, pairs = torch.randn(40, 3), random_pairs(40, 100)
    reconstruction(points, pairs, watched, chunk_size=7)
    assert max(shape[0] for shape in shapes) == 7
    shapes.clear()
    monkeypatch.setattr("hypersst.metrics.ranking._BLOCK", 5 * 40 * 3)
    reconstruction(points, pairs, watched)
    assert max(shape.numel() for shape in shapes) == 5 * 40 * 3
    assert len({shape[1:] for shape in shapes}) == 1


def test_no_graph_is_recorded():
    points = torch.randn(10, 2, requires_grad=True)

    def watched(x, y):
        assert not torch.is_grad_enabled()
        return euclidean(x, y)

    reconstruction(points, random_pairs(10, 12), watched)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[], []], r"`edge_index` must have shape \(2, E\) with E at least 1, got \(2, 0\)"),
        ([[0], [1], [2]], r"`edge_index` must have shape \(2, E\) .* got \(3, 1\)"),
        ([[0], [4]], "`edge_index` must hold rows of `points`, 0 to 3, got 0 to 4"),
        ([[0, -1], [2, 1]], "`edge_index` must hold rows of `points`, 0 to 3, got -1 to 2"),
        ([[0, 2], [1, 2]], r"`edge_index` must not pair a node with itself, got \(2, 2\)"),
    ],
)
def test_bad_pairs_are_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        reconstruction(torch.randn(4, 2), torch.tensor(pairs, dtype=torch.long), euclidean)


def test_bad_chunks_and_points_are_refused():
    pairs = torch.tensor([[0], [1]])
    with pytest.raises(ValueError, match="`chunk_size` must be at least 1, got 0"):
        reconstruction(torch.randn(4, 2), pairs, euclidean, chunk_size=0)
    with pytest.raises(ValueError, match="`points` must have finite distances, got NaN or infinity"):
        reconstruction(torch.full((4, 2), torch.nan), pairs, euclidean)
