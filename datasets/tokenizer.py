"""What texts become tokens by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

from hypersst.datasets.special_tokens import EOS
from hypersst.datasets.subwords import Subwords
from hypersst.datasets.vocabulary import Characters, Words
from hypersst.errors import unknown

__all__ = ["Tokenizer", "decode_text", "encode_lines", "restore_tokenizer"]


class Tokenizer(Protocol):
    """Sentences to numbers and back; marks are numbered as in `hypersst.datasets.special_tokens`."""

    def __len__(self) -> int:
        """Size of the vocabulary."""
        ...

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Numbers of the tokens of each sentence, without marks."""
        ...

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Sentences of numbers; padding, start and end leave nothing behind."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for equal tokenizers only."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Kind and content, for a checkpoint."""
        ...


def restore_tokenizer(state: Mapping[str, Any]) -> Tokenizer:
    """Make the tokenizer anew that a ``state_dict()`` was taken of.

    Raises:
        ImportError: If it needs sentencepiece, which is not installed.
        ValueError: If the kind is unknown.

    Example:
        >>> words = Words.train(["a rose is a rose"])
        >>> restore_tokenizer(words.state_dict()) == words
        True
    """
    kinds: dict[str, Any] = {"subwords": Subwords, "words": Words, "characters": Characters}
    if state.get("kind") not in kinds:
        raise unknown("kind", state.get("kind"), kinds)
    restored: Tokenizer = kinds[state["kind"]].from_state_dict(state)
    return restored


def encode_lines(tokenizer: Tokenizer, lines: Iterable[str], at_once: int = 1024) -> Iterator[list[int]]:
    """Tokens of each line with `EOS` after it, one line after the other.

    Args:
        tokenizer: The tokenizer.
        lines: Lines, read as they are needed.
        at_once: Lines that are encoded in one call.
    """
    for _, group in groupby(enumerate(lines), key=lambda item: item[0] // at_once):
        for ids in tokenizer.encode([line for _, line in group]):
            yield [*ids, EOS]


def decode_text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    r"""Running text of tokens: each `EOS` ends a line.

    Example:
        >>> words = Words.train(["to be", "or not"])
        >>> decode_text(words, [i for line in encode_lines(words, ["to be", "", "or"]) for i in line])
        'to be\n\nor\n'
    """
    rows: list[list[int]] = [[]]
    for i in ids:
        if i == EOS:
            rows.append([])
        else:
            rows[-1].append(i)
    return "\n".join(tokenizer.decode(rows))
