"""Small texts for tests, and pairs of tokens of all lengths."""

from functools import cache

import torch
from data_cases import real_data

from hypersst.datasets import ParallelText, load_translation


@cache
def captions() -> ParallelText:
    """Multi30k; skips the test where it is not."""
    return load_translation("multi30k", data_dir=real_data())


def random_pairs(number: int, longest: int = 20, seed: int = 0) -> list[tuple[list[int], list[int]]]:
    """Pairs of 1 to ``longest - 1`` tokens each; the first of a sentence is its number, so that pairs are different."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest, (number, 2), generator=generator).tolist()
    return [([i + 10] * source, [i + 10] + [5] * (target - 1)) for i, (source, target) in enumerate(lengths)]
