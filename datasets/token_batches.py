"""Batches of sentence pairs that hold about equally many tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypersst.datasets.epoch_position import EpochPosition, check_shard
from hypersst.datasets.parallel_text import SentencePairs
from hypersst.datasets.special_tokens import BOS, EOS, PAD
from hypersst.datasets.tokenizer import Tokenizer

__all__ = ["EncodedPair", "TokenBatch", "TokenBatches", "encode_pairs", "ordered_batches"]

EncodedPair = tuple[Sequence[int], Sequence[int]]
"""Tokens of a sentence and of its translation, without marks."""

_Lengths = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Sentence pairs in tokens, filled up with `PAD`.

    Attributes:
        source: Sentences, each with `EOS` after it, shape ``(rows, S)``.
        target_in: `BOS` and the translations, shape ``(rows, T)``.
        target_out: The translations and `EOS`: what follows each token of ``target_in``, shape ``(rows, T)``.
        rows: Which pairs these are, shape ``(rows,)``.
        target_tokens: Tokens to predict in the batches that all processes see in this step, which a mean over the
            whole batch divides by.
    """

    source: Tensor
    target_in: Tensor
    target_out: Tensor
    rows: Tensor
    target_tokens: int


def encode_pairs(pairs: SentencePairs, source: Tokenizer, target: Tokenizer) -> list[EncodedPair]:
    """Tokens of sentence pairs.

    Args:
        pairs: The pairs.
        source: Tokenizer of the sentences.
        target: Tokenizer of the translations; may be the same.
    """
    return list(zip(source.encode(pairs.source), target.encode(pairs.target), strict=True))


class TokenBatches:
    """Training batches in which rows times the longest sentence, padding included, stay within a number of tokens.

    In each epoch the pairs are shuffled and cut into windows; each window is sorted by length, every other one
    downwards, and batches are filled in that order and then shuffled. Each pair that is not too long comes exactly once
    per epoch. Lengths count `EOS`, and a pair is as long as its longer side.

    The batches depend on the pairs, ``tokens``, ``longest``, ``window``, the seed and the epoch alone. Of each, process
    ``rank`` gets rows ``rank``, ``rank + world``, ...: all take equally many steps, none is without rows, and together
    they see what a single one would.

    Iterating goes through one epoch, or what is left of it after ``load_state_dict``; ``epoch`` tells which comes next.

    Args:
        pairs: Sentences and translations in tokens.
        tokens: Most tokens of a batch on each side, of all processes together.
        longest: Pairs in which a side has more tokens are left out; ``dropped`` counts them.
        window: Pairs that are sorted together; more of them need less padding and mix lengths less.
        seed: Seed of the order.
        rank: Which of the processes this is.
        world: Number of processes.

    Raises:
        ValueError: If a number is out of range, ``tokens`` is too small for the pairs, or no pair is left.

    Example:
        >>> batches = TokenBatches([([5, 6], [7]), ([8], [9, 5])], tokens=6)
        >>> [batch.source.shape for batch in batches], batches.epoch
        ([torch.Size([2, 3])], 1)
    """

    def __init__(
        self,
        pairs: Sequence[EncodedPair],
        tokens: int = 4096,
        *,
        longest: int = 256,
        window: int = 8192,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        check_shard(rank, world)
        if longest < 1 or window < 1:
            raise ValueError(f"`longest` and `window` must be at least 1, got {longest} and {window}.")
        lengths = _lengths(pairs)
        self._kept = np.flatnonzero(lengths <= longest)
        self.dropped = len(pairs) - len(self._kept)
        if len(self._kept) < world:
            raise ValueError(
                f"`pairs` must hold at least `world` = {world} of at most {longest} tokens, got {len(self._kept)} and "
                f"{self.dropped} longer ones."
            )
        # With several processes two rows each: then the last two batches can share their rows, see `_plan`.
        least = int(lengths[self._kept].max()) * (1 if world == 1 else 2 * world)
        if tokens < least:
            raise ValueError(
                f"`tokens` must be at least {least:,}: {'' if world == 1 else 'two rows for each process of '}"
                f"the longest pair, got {tokens:,}."
            )
        self.tokens, self.window, self.rank, self.world = tokens, window, rank, world
        self._pairs, self._lengths = pairs, lengths
        self._position = EpochPosition(
            seed, pairs=len(pairs), total=int(lengths.sum()), tokens=tokens, longest=longest, window=window
        )

    @property
    def epoch(self) -> int:
        """Epoch of the batch that comes next."""
        return self._position.epoch

    def __len__(self) -> int:
        """Batches in the epoch of the batch that comes next; epochs differ a little."""
        return len(self._plan())

    def __iter__(self) -> Iterator[TokenBatch]:
        plan = self._plan()
        for step in self._position.walk(len(plan)):
            rows = plan[step]
            target_tokens = sum(len(self._pairs[i][1]) + 1 for i in rows)
            yield _collate(self._pairs, rows[self.rank :: self.world], target_tokens)

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch is; the same for every rank, and for any number of processes."""
        return self._position.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: If the state is of other pairs or other batches.
        """
        self._position.load_state_dict(state)

    def _plan(self) -> list[list[int]]:
        """Rows of each batch of this epoch, in order."""
        generator = self._position.generator("token batches")
        shuffled = self._kept[torch.randperm(len(self._kept), generator=generator).numpy()]
        windows = np.array_split(shuffled, -(-len(shuffled) // self.window))
        # Upwards, downwards, upwards: lengths do not jump where windows meet.
        order = [
            rows[np.argsort(sign * self._lengths[rows], kind="stable")]
            for rows, sign in zip(windows, [1, -1] * len(windows), strict=False)
        ]
        plan = _fill(np.concatenate(order).tolist(), self._lengths, self.tokens)
        _share_the_last(plan, self._lengths, self.tokens)
        return [plan[i] for i in torch.randperm(len(plan), generator=generator).tolist()]


def ordered_batches(
    pairs: Sequence[EncodedPair], tokens: int = 4096, *, by_length: bool = False
) -> Iterator[TokenBatch]:
    """Batches for evaluation: every pair once, none left out.

    A pair that is longer than ``tokens`` makes a batch of its own. To translate without references, let the
    translations be empty.

    Args:
        pairs: Sentences and translations in tokens.
        tokens: Most tokens of a batch on each side, padding included.
        by_length: From long to short, which needs less padding; ``TokenBatch.rows`` says where results belong. Else in
            the order of ``pairs``.

    Raises:
        ValueError: If ``tokens`` is not positive.
    """
    if tokens < 1:
        raise ValueError(f"`tokens` must be at least 1, got {tokens}.")
    lengths = _lengths(pairs)
    order = np.argsort(-lengths, kind="stable").tolist() if by_length else list(range(len(pairs)))
    for rows in _fill(order, lengths, tokens):
        yield _collate(pairs, rows, sum(len(pairs[i][1]) + 1 for i in rows))


def _lengths(pairs: Sequence[EncodedPair]) -> _Lengths:
    return np.array([max(len(source), len(target)) + 1 for source, target in pairs], dtype=np.int64)


def _fill(order: Sequence[int], lengths: _Lengths, tokens: int) -> list[list[int]]:
    """Cut an order into batches, each as long as it can be."""
    plan: list[list[int]] = []
    longest = 0
    for row, length in zip(order, lengths[list(order)].tolist(), strict=True):
        if plan and (len(plan[-1]) + 1) * max(longest, length) <= tokens:
            plan[-1].append(row)
            longest = max(longest, length)
        else:
            plan.append([row])
            longest = length
    return plan


def _share_the_last(plan: list[list[int]], lengths: _Lengths, tokens: int) -> None:
    """Fill the last batch, which has what is left, from the one before, until they are equal in rows or it is full.

    As every other batch has at least ``tokens // longest`` rows, none has then less than half of that.
    """
    if len(plan) < 2 or len(plan[-2]) <= len(plan[-1]):
        return
    before, last = plan[-2:]
    most = tokens // int(lengths[[*before, *last]].max())
    moved = min((len(before) - len(last)) // 2, most - len(last))
    if moved > 0:
        last[:0] = before[-moved:]
        del before[-moved:]


def _collate(pairs: Sequence[EncodedPair], rows: Sequence[int], target_tokens: int) -> TokenBatch:
    return TokenBatch(
        source=_padded([[*pairs[i][0], EOS] for i in rows]),
        target_in=_padded([[BOS, *pairs[i][1]] for i in rows]),
        target_out=_padded([[*pairs[i][1], EOS] for i in rows]),
        rows=torch.tensor(rows, dtype=torch.long),
        target_tokens=target_tokens,
    )


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows], dtype=torch.long)
