"""Vocabularies of whole words or of characters, for texts that are not cut into subwords."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from hypersst.datasets.special_tokens import BOS, EOS, PAD, UNK

__all__ = ["Characters", "Words"]


class _Vocabulary(ABC):
    """Tokens by number. Two of a kind are equal if they have the same tokens in the same order."""

    kind: str
    marks: tuple[str, str, str, str]

    def __init__(self, tokens: Sequence[str]) -> None:
        if tuple(tokens[:4]) != self.marks:
            raise ValueError(f"`tokens` must begin with {self.marks}, got {tuple(tokens[:4])}.")
        self.tokens = tuple(tokens)
        self._number = {token: i for i, token in enumerate(self.tokens)}
        if len(self._number) < len(self.tokens):
            repeats = len(self.tokens) - len(self._number)
            raise ValueError(f"`tokens` must all be different, got {repeats} repeats.")

    @staticmethod
    @abstractmethod
    def _cut(line: str) -> Sequence[str]: ...

    @staticmethod
    @abstractmethod
    def _join(tokens: Sequence[str]) -> str: ...

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Numbers of the tokens of each sentence, without marks."""
        return [[self._number.get(token, UNK) for token in self._cut(sentence)] for sentence in sentences]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Sentences of numbers; padding, start and end leave nothing behind.

        Raises:
            ValueError: If a number is not in the vocabulary.
        """
        if any(not 0 <= i < len(self) for row in ids for i in row):
            raise ValueError(f"`ids` must be below the size of the vocabulary, {len(self)}.")
        silent = (PAD, BOS, EOS)
        return [self._join([self.tokens[i] for i in row if i not in silent]) for row in ids]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of kind and tokens, in hexadecimal."""
        return hashlib.sha256("\n".join((self.kind, *self.tokens)).encode()).hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """The tokens as a tensor of bytes, for ``torch.save``; `hypersst.datasets.restore_tokenizer` undoes it."""
        joined = bytearray("\n".join(self.tokens[4:]).encode())
        # An empty buffer makes no tensor.
        tokens = torch.frombuffer(joined, dtype=torch.uint8) if joined else torch.empty(0, dtype=torch.uint8)
        return {"kind": self.kind, "tokens": tokens}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Undo `state_dict`."""
        tokens: Tensor = state["tokens"]
        text = tokens.cpu().numpy().tobytes().decode()
        return cls([*cls.marks, *(text.split("\n") if text else ())])

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, _Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash((self.kind, self.tokens))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={len(self)})"


class Words(_Vocabulary):
    """Words between spaces, in the spelling of WikiText: ``<unk>`` in the text is the mark for unknown words.

    ``decode(encode(s))`` is ``" ".join(s.split())`` with unknown words as ``<unk>``.

    Args:
        tokens: Marks and words; `train` makes them.

    Example:
        >>> words = Words.train(["a rose is a rose"])
        >>> words.tokens
        ('<pad>', '<unk>', '<bos>', '<eos>', 'a', 'rose', 'is')
        >>> words.decode(words.encode(["a nose is a rose"]))
        ['a <unk> is a rose']
    """

    kind = "words"
    marks = ("<pad>", "<unk>", "<bos>", "<eos>")

    @classmethod
    def train(cls, lines: Iterable[str], size: int | None = None) -> Words:
        """All words of the lines, the most frequent first, words of one frequency in the order of their code points.

        Args:
            lines: Lines of the training text; read once.
            size: Keep so many tokens, marks included; ``None`` for all.

        Raises:
            ValueError: If there are no words, or the size is below 5.
        """
        if size is not None and size <= len(cls.marks):
            raise ValueError(f"`size` must be at least {len(cls.marks) + 1}, got {size}.")
        counts = Counter(word for line in lines for word in cls._cut(line))
        for mark in cls.marks:
            del counts[mark]
        if not counts:
            raise ValueError("`lines` must hold at least one word, got none.")
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls([*cls.marks, *ordered][:size])

    @staticmethod
    def _cut(line: str) -> Sequence[str]:
        return line.split()

    @staticmethod
    def _join(tokens: Sequence[str]) -> str:
        return " ".join(tokens)


class Characters(_Vocabulary):
    """Single characters; the end of a line is the mark ``EOS``, unknown ones decode to U+FFFD.

    Args:
        tokens: Marks and characters; `train` makes them.

    Example:
        >>> characters = Characters.train(["abba"])
        >>> characters.encode(["bad"])
        [[5, 4, 1]]
    """

    kind = "characters"
    marks = ("<pad>", "\N{REPLACEMENT CHARACTER}", "<bos>", "<eos>")

    @classmethod
    def train(cls, lines: Iterable[str]) -> Characters:
        """All characters of the lines in the order of their code points.

        Raises:
            ValueError: If there are none.
        """
        found = {character for line in lines for character in line} - set(cls.marks) - {"\n"}
        if not found:
            raise ValueError("`lines` must hold at least one character, got none.")
        return cls([*cls.marks, *sorted(found)])

    @staticmethod
    def _cut(line: str) -> Sequence[str]:
        return line

    @staticmethod
    def _join(tokens: Sequence[str]) -> str:
        return "".join(tokens)
