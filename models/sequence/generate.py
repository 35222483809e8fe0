"""Texts that a language model goes on with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypersst.models.sequence.beam_search import evaluating
from hypersst.models.sequence.language_model import LanguageModel
from hypersst.models.sequence.tokens import check_rows
from hypersst.nn.shapes import check_channels

__all__ = ["generate"]


def generate(
    model: LanguageModel,
    prompt: Tensor,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw a continuation word by word.

    Each word is drawn with probability ``softmax(logits / temperature)``, if told so among the likeliest ones only.

    Source: Fan, Lewis and Dauphin (2018), *Hierarchical Neural Story Generation*, for the ``top_k`` likeliest.

    Args:
        model: A language model, in either geometry.
        prompt: Tokens, shape ``(B, T)`` with T at least 1.
        length: Number of words to add.
        temperature: Positive; below one the likely words become likelier.
        top_k: Number of words to draw from; 1 takes the likeliest. All if left out.
        generator: Source of the draws, on the model's device; ``None`` for torch's global one.

    Returns:
        Tokens, shape ``(B, T + length)``, the prompt in front.

    Raises:
        ValueError: If a number is out of its range, or the text would be longer than the model's ``max_length``.

    Example:
        >>> from hypersst.models.sequence import Llama
        >>> generate(Llama(100, dim=16, layers=1), torch.tensor([[5, 7]]), 3).shape
        torch.Size([1, 5])
    """
    check_rows("prompt", prompt)
    check_channels(prompt=prompt.shape[1], length=length)
    if not 0.0 < temperature < math.inf:
        raise ValueError(
            f"`temperature` must be positive and finite, got {temperature}; `top_k=1` takes the likeliest."
        )
    if top_k is not None:
        check_channels(top_k=top_k)
    total = prompt.shape[1] + length
    if total - 1 > model.max_length:
        raise ValueError(f"`length` must leave the text within {model.max_length} words, got {length} for {total}.")
    text, fresh = prompt, prompt
    with evaluating(model):
        cache = model.cache(total - 1)
        for _ in range(length):
            logits = model.logits(model.states(fresh, cache)[:, -1]).double() / temperature
            if top_k is not None and top_k < logits.shape[1]:
                top, words = logits.topk(top_k)
                fresh = words.gather(1, torch.multinomial(top.softmax(dim=-1), 1, generator=generator))
            else:
                fresh = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)
            text = torch.cat((text, fresh), dim=1)
    return text
