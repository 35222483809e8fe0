"""Counting the entries of a sorted list that are at most a number."""

import pytest
import torch

from hypersst.datasets.guided_search import GuidedSearch


@pytest.mark.parametrize("end", [1, 2, 7, 64, 1000, 10**6])
@pytest.mark.parametrize("m", [0, 1, 2, 50, 700])
@pytest.mark.parametrize("spread", [1.0, 12.0])
def test_counts_are_those_of_searchsorted(end: int, m: int, spread: float) -> None:
    # Repeats where the list is longer than the range; a high power crowds most entries into few intervals.
    uniform = torch.rand(m, dtype=torch.float64, generator=torch.Generator().manual_seed(m))
    values = (uniform**spread * end).long().sort().values
    numbers = torch.arange(end) if end <= 1000 else torch.cat((values, values + 1, torch.tensor([0, end - 1])))
    numbers = numbers.clamp_max(end - 1)
    found = GuidedSearch(values, end)(numbers)
    assert torch.equal(found, torch.searchsorted(values, numbers, right=True))


def test_all_entries_equal_and_the_largest() -> None:
    search = GuidedSearch(torch.full((33,), 4), end=5)
    assert search(torch.arange(5)).tolist() == [0, 0, 0, 0, 33]


def test_numbers_keep_their_shape() -> None:
    assert GuidedSearch(torch.tensor([1, 3]), end=4)(torch.tensor([[0, 3], [1, 2]])).tolist() == [[0, 2], [1, 1]]
