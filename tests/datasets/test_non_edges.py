"""Sampling from the complement of a graph."""

from collections import Counter

import pytest
import torch
from data_cases import all_pairs, as_set, random_graph
from torch.utils._python_dispatch import TorchDispatchMode

from hypersst.datasets import NonEdges, split_graph


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize(("nodes", "edges"), [(2, 0), (3, 2), (7, 5), (12, 20), (30, 300)])
def test_distinct_draws_of_all_non_edges_are_the_complement(nodes, edges, loops):
    pairs = torch.randint(nodes, (2, edges), generator=_generator(1))
    pairs = pairs[:, pairs[0] != pairs[1]] if nodes < 4 else pairs
    complement = all_pairs(nodes, loops) - {(min(p), max(p)) for p in as_set(pairs)}
    outside = NonEdges(pairs, nodes, loops=loops)
    assert outside.count == len(complement)
    drawn = outside.sample_distinct(outside.count, _generator())
    assert drawn.size(1) == len(complement)
    assert as_set(drawn) == complement


@pytest.mark.parametrize("loops", [False, True])
def test_draws_are_uniform_over_non_edges(loops):
    pairs = torch.randint(12, (2, 25), generator=_generator(2))
    outside = NonEdges(pairs, 12, loops=loops)
    expected = 1000.0
    counts = Counter(map(tuple, outside.sample(int(expected) * outside.count, _generator()).t().tolist()))
    chi2 = sum((seen - expected) ** 2 / expected for seen in counts.values())
    # With k cells, chi-squared has mean k - 1 and variance 2 (k - 1); five deviations are a 1e-5 tail.
    freedom = outside.count - 1
    assert len(counts) == outside.count
    assert chi2 < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("share", [0.05, 0.45, 0.55, 1.0])
def test_distinct_draws_are_distinct_and_each_pair_is_equally_likely(share):
    pairs = torch.tensor([[0, 1, 2], [1, 2, 3]])
    outside = NonEdges(pairs, 9)
    n = int(share * outside.count)
    runs, counts = 500, Counter()
    for seed in range(runs):
        drawn = as_set(outside.sample_distinct(n, _generator(seed)))
        assert len(drawn) == n
        counts.update(drawn)
    # A pair is in a draw with p = n / count: a binomial over the runs, five deviations.
    p = n / outside.count
    bound = 5 * (runs * p * (1 - p)) ** 0.5
    assert all(abs(counts[pair] - runs * p) <= bound for pair in all_pairs(9, False) - as_set(pairs))


def test_direction_and_repeats_of_the_listed_pairs_do_not_matter():
    once = NonEdges(torch.tensor([[0, 1], [1, 2]]), 5)
    twice = NonEdges(torch.tensor([[1, 0, 2, 1], [0, 1, 1, 2]]), 5)
    assert torch.equal(once.sample(50, _generator()), twice.sample(50, _generator()))


def test_draws_follow_the_generator_alone():
    outside = NonEdges(torch.tensor([[0], [1]]), 50)
    first = outside.sample(20, _generator(3))
    torch.manual_seed(99)
    assert torch.equal(first, outside.sample(20, _generator(3)))
    assert not torch.equal(first, outside.sample(20, _generator(4)))


def test_no_draws_give_an_empty_list():
    assert NonEdges(torch.tensor([[0], [1]]), 5).sample(0, _generator()).shape == (2, 0)


def test_a_complete_graph_has_no_non_edges():
    complete = torch.combinations(torch.arange(5)).t()
    with pytest.raises(ValueError, match=r"`edge_index` must leave at least one pair .* all pairs of 5 nodes"):
        NonEdges(complete, 5)
    assert as_set(NonEdges(complete, 5, loops=True).sample(100, _generator())) == {(i, i) for i in range(5)}


def test_impossible_numbers_are_refused():
    outside = NonEdges(torch.tensor([[0], [1]]), 3)
    with pytest.raises(ValueError, match="`n` must be at least 0, got -1"):
        outside.sample(-1, _generator())
    with pytest.raises(ValueError, match="`n` must be at most the 2 pairs without an edge, got 3"):
        outside.sample_distinct(3, _generator())


class _Largest(TorchDispatchMode):
    """Remembers the length of the longest tensor that any operation returned."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@pytest.mark.parametrize("split", ["clean", "hgcn"])
def test_memory_of_a_split_and_its_negatives_grows_with_the_edges_only(split):
    graph = random_graph(num_nodes=19_717, num_edges=44_324)  # the size of PubMed: 1.9e8 pairs
    with _Largest() as largest:
        task = split_graph(graph, "lp", split)
        task.sample_negatives(task.train_pos.size(1), _generator())
    assert 2 * 44_000 < largest.numel < 5 * 44_325
