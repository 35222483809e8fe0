"""Blocks of running text for language models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypersst.datasets.epoch_position import EpochPosition, check_shard
from hypersst.datasets.special_tokens import EOS, PAD

__all__ = ["TokenBlocks", "TokenStream"]


@dataclass(frozen=True, eq=False)
class TokenBlocks:
    """What a language model sees in one step.

    Attributes:
        tokens: Tokens, shape ``(rows, length)``.
        targets: The token that follows each, `PAD` where none is to be predicted, same shape.
    """

    tokens: Tensor
    targets: Tensor


class TokenStream:
    """Batches of blocks of a text, from tokens that may be larger than memory.

    The N tokens are the targets; a model that predicts token ``i`` has seen those before it within the block, and the
    first of a text is predicted from `EOS`. Block ``i`` holds targets ``i * length`` to ``(i + 1) * length - 1``.

    Iterating goes through one epoch, or what is left of it after ``load_state_dict``; ``epoch`` tells which comes next.
    In training each epoch has the blocks in another order, which depends on seed and epoch alone. Blocks that do not
    fill a batch wait for another epoch, and the last tokens of a text, fewer than ``length``, are left out. With
    ``ordered``, for evaluation, nothing is: the last block and the last batch are filled up with `PAD`, where there is
    nothing to predict.

    Args:
        tokens: Tokens, shape ``(N,)``, such as `map_tokens` gives.
        batch: Rows of a batch, of all processes together.
        length: Tokens in a row.
        seed: Seed of the order.
        ordered: Keep the order of the text, and all of it.
        rank: Which of the processes this is: it gets rows ``rank``, ``rank + world``, ... of each batch.
        world: Number of processes; divides ``batch``.

    Raises:
        ValueError: If a number is out of range, or the tokens do not fill one batch.

    Example:
        >>> stream = TokenStream(np.array([4, 5, 6, 7, 3]), batch=1, length=2, ordered=True)
        >>> [(block.tokens.tolist(), block.targets.tolist()) for block in stream]
        [([[3, 4]], [[4, 5]]), ([[5, 6]], [[6, 7]]), ([[7, 3]], [[3, 0]])]
    """

    def __init__(
        self,
        tokens: NDArray[Any],
        batch: int,
        length: int,
        *,
        seed: int = 0,
        ordered: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        check_shard(rank, world)
        if length < 1:
            raise ValueError(f"`length` must be at least 1, got {length}.")
        if batch < 1 or batch % world:
            raise ValueError(f"`batch` must be a positive multiple of `world` = {world}, got {batch}.")
        count = len(tokens)
        if count < 1 or (not ordered and count < batch * length):
            least = 1 if ordered else batch * length
            raise ValueError(f"`tokens` must hold at least {least:,}, for one batch, got {count:,}.")
        self.batch, self.length, self.ordered, self.rank, self.world = batch, length, ordered, rank, world
        self._tokens = tokens
        self._blocks = -(-count // length) if ordered else count // length
        self._position = EpochPosition(seed, tokens=count, batch=batch, length=length, ordered=ordered)

    @property
    def epoch(self) -> int:
        """Epoch of the batch that comes next."""
        return self._position.epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self._blocks // self.batch) if self.ordered else self._blocks // self.batch

    def __iter__(self) -> Iterator[TokenBlocks]:
        order = None
        if not self.ordered:
            order = torch.randperm(self._blocks, generator=self._position.generator("token stream"))
        for step in self._position.walk(len(self)):
            places = range(step * self.batch + self.rank, (step + 1) * self.batch, self.world)
            yield self._read(list(places) if order is None else order[list(places)].tolist())

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch is; the same for every rank, and for any number of processes."""
        return self._position.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: If the state is of another text or other batches.
        """
        self._position.load_state_dict(state)

    def _read(self, blocks: list[int]) -> TokenBlocks:
        # One more column, in front: the token before the first target.
        rows = np.full((len(blocks), self.length + 1), PAD, dtype=np.int64)
        for row, block in zip(rows, blocks, strict=True):
            start = block * self.length
            found = self._tokens[max(start - 1, 0) : start + self.length]
            if start == 0:
                row[0] = EOS
            row[start == 0 : (start == 0) + len(found)] = found
        targets = torch.from_numpy(rows[:, 1:].copy())
        tokens = torch.from_numpy(rows[:, :-1].copy())
        return TokenBlocks(tokens, targets)
