"""The network that settings name."""

from __future__ import annotations

from typing import Any

from torch import nn

from hypersst.experiments.texts.settings import ResolvedTextSettings
from hypersst.models.sequence import build_sequence

__all__ = ["build_model"]


def build_model(settings: ResolvedTextSettings, vocabulary: int) -> nn.Module:
    """Build the network, its weights drawn from torch's global generator.

    Args:
        settings: Sizes and probabilities.
        vocabulary: Number of words, of both languages together.

    Raises:
        ValueError: If the sizes do not fit.
    """
    options: dict[str, Any] = {
        "dim": settings.dim,
        "heads": settings.heads,
        "feedforward": settings.feedforward,
        "dropout": settings.dropout,
        "attention_dropout": settings.attention_dropout,
        "c": settings.c,
    }
    if settings.translates:
        options |= {"encoder_layers": settings.layers, "decoder_layers": settings.layers}
        options |= {"norm_first": settings.norm_first, "shared_embedding": True}
        return build_sequence(settings.model, vocabulary, vocabulary, **options)
    return build_sequence(settings.model, vocabulary, layers=settings.layers, max_length=settings.length, **options)
