"""Uniform draws from the nodes that are no neighbours."""

import pytest
import torch

from hypersst.datasets.non_neighbours import NonNeighbours


def _random_pairs(n: int, count: int, seed: int = 0) -> torch.Tensor:
    """Directed pairs, repeats and loops among them; node ``n - 1`` has no neighbours, node 0 all but one."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(n - 1, (2, count), generator=generator)
    crowd = torch.stack((torch.zeros(n - 2, dtype=torch.long), torch.arange(1, n - 1)))
    pairs = pairs[:, (pairs[0] > 0)]
    return torch.cat((pairs, crowd), dim=1)


def test_draws_are_all_the_nodes_that_are_no_neighbours_and_nothing_else():
    n, pairs = 12, _random_pairs(12, 40)
    drawn = NonNeighbours(pairs, n).sample(torch.arange(n), 2000, torch.Generator().manual_seed(0))
    assert drawn.shape == (n, 2000)
    for u in range(n):
        neighbours = {v for s, v in pairs.t().tolist() if s == u}
        # At most 11 nodes: one is missed with probability below 11 · (10/11)^2000 < 1e-80.
        assert set(drawn[u].tolist()) == set(range(n)) - neighbours - {u}


def test_draws_are_uniform():
    n, pairs, k = 12, _random_pairs(12, 40), 60_000
    outside = NonNeighbours(pairs, n)
    drawn = outside.sample(torch.arange(n), k, torch.Generator().manual_seed(1))
    for u in range(n):
        counts = torch.bincount(drawn[u], minlength=n).double()
        expected = k / outside.free[u].double()
        # Six standard deviations of a binomial count.
        assert ((counts[counts > 0] - expected).abs() < 6 * expected.sqrt()).all()


def test_a_node_may_be_asked_for_often_and_in_any_order():
    outside = NonNeighbours(torch.tensor([[0, 0, 2], [1, 2, 0]]), 4)
    drawn = outside.sample(torch.tensor([2, 0, 2, 0]), 50, torch.Generator().manual_seed(0))
    assert [sorted(set(row.tolist())) for row in drawn] == [[1, 3], [3], [1, 3], [3]]


def test_the_seed_decides():
    outside = NonNeighbours(_random_pairs(12, 40), 12)
    nodes = torch.arange(12)
    first, second, third = (outside.sample(nodes, 20, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_node_without_a_non_neighbour_is_refused():
    with pytest.raises(ValueError, match="`pairs` must leave each node a non-neighbour, but node 1 has all"):
        NonNeighbours(torch.tensor([[1, 1, 0], [0, 2, 1]]), 3)
