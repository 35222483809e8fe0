"""Translate sentences with a trained network."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hypersst.datasets import Tokenizer, ordered_batches
from hypersst.models.sequence import EncoderDecoder, beam_search

__all__ = ["translate"]


def translate(
    model: EncoderDecoder,
    tokenizer: Tokenizer,
    sentences: Sequence[str],
    *,
    beam: int = 4,
    length_penalty: float = 1.0,
    tokens: int = 4096,
) -> list[str]:
    """Translate sentences, those of like lengths together.

    Args:
        model: A translator.
        tokenizer: That of both languages.
        sentences: Any number; empty ones stay empty.
        beam: Hypotheses kept of each sentence.
        length_penalty: See `hypersst.models.sequence.beam_search`.
        tokens: Source tokens in a batch, padding included.

    Returns:
        The translations, in the order of the sentences.

    Raises:
        ValueError: If a number is out of range, or a sentence has more tokens than the model has positions.
    """
    device = next(model.parameters()).device
    sources = tokenizer.encode(sentences)
    most = model.max_length - 1  # and the mark of the end
    for number, source in enumerate(sources, start=1):
        if len(source) > most:
            raise ValueError(f"`sentences` must have at most {most} tokens each, got {len(source)} in number {number}.")
    found = [""] * len(sources)
    rows = [row for row, source in enumerate(sources) if source]
    nothing: tuple[int, ...] = ()
    with torch.no_grad():
        for batch in ordered_batches([(sources[row], nothing) for row in rows], tokens, by_length=True):
            best = beam_search(model, batch.source.to(device), beam, length_penalty=length_penalty)
            texts = tokenizer.decode([hypothesis.tokens for hypothesis in best])
            for place, text in zip(batch.rows.tolist(), texts, strict=True):
                found[rows[place]] = text
    return found
