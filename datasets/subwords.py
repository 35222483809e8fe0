"""Subwords of sentencepiece, and the model they come from as a tensor for checkpoints."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from hypersst.datasets.parallel_text import SentencePairs
from hypersst.datasets.special_tokens import BOS, EOS, PAD, UNK
from hypersst.errors import unknown

__all__ = ["Subwords", "train_subwords"]

KINDS = ("unigram", "bpe")


def _sentencepiece() -> ModuleType:
    try:
        import sentencepiece
    except ImportError as error:
        raise ImportError("Subwords need sentencepiece: `pip install hypersst[text]`.") from error
    return sentencepiece


class Subwords:
    """Subwords by a trained sentencepiece model.

    Source: Kudo (2018), *Subword regularization* (``"unigram"``); Sennrich, Haddow and Birch (2016), *Neural machine
    translation of rare words with subword units* (``"bpe"``); both as sentencepiece has them. Its normalisation
    (NFKC, runs of spaces as one) comes before. ``decode(encode(s))`` is ``normalize(s)`` as long as all characters of
    ``s`` are in the vocabulary, and always with ``byte_fallback``.

    Two are equal if their models have the same bytes.

    Args:
        model: A serialised sentencepiece model with the numbers of `hypersst.datasets.special_tokens`.

    Raises:
        ImportError: If sentencepiece is not installed.
        ValueError: If the bytes are no model, or its marks have other numbers.

    Example:
        >>> subwords = Subwords.train(["ein roter ball", "ein rotes tor"] * 3, size=16)
        >>> subwords.decode(subwords.encode(["ein ball", "rot"]))
        ['ein ball', 'rot']
    """

    def __init__(self, model: bytes) -> None:
        self._model = bytes(model)
        try:
            self._processor = _sentencepiece().SentencePieceProcessor(model_proto=self._model)
        except RuntimeError as error:
            raise ValueError(f"`model` must be a sentencepiece model, got {len(self._model):,} other bytes.") from error
        p = self._processor
        found = (p.pad_id(), p.unk_id(), p.bos_id(), p.eos_id())
        if found != (PAD, UNK, BOS, EOS):
            raise ValueError(f"`model` must number padding, unknown, start and end as 0, 1, 2, 3, got {found}.")

    @classmethod
    def train(
        cls, sentences: Iterable[str], size: int = 8000, *, kind: str = "unigram", byte_fallback: bool = False
    ) -> Subwords:
        """Train on sentences, which should be those of the training set alone.

        The same sentences and options give the same bytes: one thread, no sampling. All sentences are in memory at
        once; of a text that is larger, give a part (``itertools.islice``).

        Args:
            sentences: Sentences or lines; empty ones are left out.
            size: Size of the vocabulary, marks and single characters included.
            kind: ``"unigram"`` or ``"bpe"``.
            byte_fallback: Whether characters that the training set lacks become bytes (256 more pieces) instead of
                the mark for unknown ones.

        Raises:
            ImportError: If sentencepiece is not installed.
            ValueError: If the kind is unknown, there are no sentences, or the size does not fit them.
        """
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
        kept = [sentence for sentence in sentences if sentence.strip()]
        if not kept:
            raise ValueError("`sentences` must hold at least one that is not empty, got none.")
        model = io.BytesIO()
        try:
            _sentencepiece().SentencePieceTrainer.train(
                sentence_iterator=iter(kept),
                model_writer=model,
                vocab_size=size,
                model_type=kind,
                byte_fallback=byte_fallback,
                character_coverage=1.0,
                # Unless told otherwise, longer lines than 4,192 bytes are left out; a paragraph may have more.
                max_sentence_length=max(len(sentence.encode()) for sentence in kept) + 1,
                input_sentence_size=0,
                shuffle_input_sentence=False,
                num_threads=1,
                pad_id=PAD,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise ValueError(_size_rule(str(error), size)) from error
        return cls(model.getvalue())

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Numbers of the subwords of each sentence, without marks."""
        found: list[list[int]] = self._processor.encode(list(sentences))
        return found

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Sentences of numbers; padding, start and end leave nothing behind.

        Raises:
            ValueError: If a number is not in the vocabulary.
        """
        try:
            found: list[str] = self._processor.decode([list(row) for row in ids]) if len(ids) else []
        except IndexError as error:
            raise ValueError(f"`ids` must be below the size of the vocabulary, {len(self)}.") from error
        return found

    def normalize(self, sentence: str) -> str:
        """What ``decode(encode(sentence))`` gives where all its characters are known."""
        # Normalised text has "▁" for spaces and before the first word.
        found: str = self._processor.Normalize(sentence)
        return found.replace("▁", " ").removeprefix(" ")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the model, in hexadecimal."""
        return hashlib.sha256(self._model).hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """The model as a tensor of bytes, for ``torch.save``; `hypersst.datasets.restore_tokenizer` undoes it."""
        return {"kind": "subwords", "model": torch.frombuffer(bytearray(self._model), dtype=torch.uint8)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Subwords:
        """Undo `state_dict`."""
        model: Tensor = state["model"]
        return cls(model.cpu().numpy().tobytes())

    def __len__(self) -> int:
        size: int = self._processor.get_piece_size()
        return size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subwords) and self._model == other._model

    def __hash__(self) -> int:
        return hash(self._model)

    def __reduce__(self) -> tuple[type[Subwords], tuple[bytes]]:
        return type(self), (self._model,)

    def __repr__(self) -> str:
        return f"Subwords(size={len(self)}, sha256={self.fingerprint[:12]})"


def train_subwords(
    pairs: SentencePairs, size: int = 8000, *, kind: str = "unigram", shared: bool = True
) -> tuple[Subwords, Subwords]:
    """Subwords of source and target language.

    Args:
        pairs: Training pairs.
        size: Size of the vocabulary; of each, if there are two.
        kind: ``"unigram"`` or ``"bpe"``.
        shared: One vocabulary for both languages: the same object twice.

    Raises:
        ImportError: If sentencepiece is not installed.
        ValueError: As `Subwords.train`.
    """
    if shared:
        both = Subwords.train((*pairs.source, *pairs.target), size, kind=kind)
        return both, both
    return Subwords.train(pairs.source, size, kind=kind), Subwords.train(pairs.target, size, kind=kind)


def _size_rule(message: str, size: int) -> str:
    """The limit that sentencepiece's message names."""
    if limit := re.search(r"set it to a value <= (\d+)", message):
        return f"`size` must be at most {limit[1]} for these sentences, got {size}."
    if limit := re.search(r"smaller than required_chars. \d+ vs (\d+)", message):
        return f"`size` must be at least {limit[1]}, marks and single characters of these sentences, got {size}."
    return f"`sentences` and `size` must be such that sentencepiece can be trained, got size {size}: {message}"
