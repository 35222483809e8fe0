"""Sequence models by name, and their customary sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from hypersst.errors import unknown
from hypersst.models.sequence.language_model import OPT, Llama, LorentzLanguageModel
from hypersst.models.sequence.transformer import LorentzTransformer, Transformer

__all__ = ["SEQUENCE_MODELS", "SIZES", "build_sequence"]

SEQUENCE_MODELS: Mapping[str, type[nn.Module]] = {
    "transformer": Transformer,
    "lorentz-transformer": LorentzTransformer,
    "llama": Llama,
    "opt": OPT,
    "lorentz-llama": LorentzLanguageModel,
}


def _translation(dim: int, heads: int, layers: int, feedforward: int) -> Mapping[str, int]:
    return {
        "dim": dim,
        "heads": heads,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "feedforward": feedforward,
    }


def _language(dim: int, heads: int, layers: int, feedforward: int) -> Mapping[str, int]:
    return {"dim": dim, "heads": heads, "layers": layers, "feedforward": feedforward}


# 64 to 256 are HyboNet's and the SST paper's, "base" is that of Vaswani et al. (2017).
_TRANSFORMERS: Mapping[str, Mapping[str, int]] = {
    "tiny": _translation(32, 4, 2, 64),
    "64": _translation(64, 4, 6, 256),
    "128": _translation(128, 4, 6, 512),
    "256": _translation(256, 4, 6, 1024),
    "base": _translation(512, 8, 6, 2048),
}
# From 60 million parameters on, with 32,000 words, those of ReLoRA and GaLore.
_LLAMAS: Mapping[str, Mapping[str, int]] = {
    "tiny": _language(64, 4, 2, 176),
    "10m": _language(256, 4, 8, 688),
    "60m": _language(512, 8, 8, 1376),
    "100m": _language(640, 10, 12, 1712),
    "130m": _language(768, 12, 12, 2048),
    "350m": _language(1024, 16, 24, 2736),
    "1b": _language(2048, 32, 24, 5461),
}
# Zhang et al. (2022), table 1; counted with 50,272 words and 2,048 positions.
_OPTS: Mapping[str, Mapping[str, int]] = {
    "tiny": _language(64, 4, 2, 256),
    "10m": _language(256, 4, 10, 1024),
    "125m": _language(768, 12, 12, 3072),
    "350m": _language(1024, 16, 24, 4096),
    "1.3b": _language(2048, 32, 24, 8192),
}

#: Arguments of each model's constructor by the name of a size.
SIZES: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "transformer": _TRANSFORMERS,
    "lorentz-transformer": _TRANSFORMERS,
    "llama": _LLAMAS,
    "opt": _OPTS,
    "lorentz-llama": _LLAMAS,
}


def build_sequence(name: str, *vocabularies: int, size: str | None = None, **options: Any) -> nn.Module:
    """Build a model of the registry.

    Args:
        name: A key of `SEQUENCE_MODELS`.
        *vocabularies: Number of words; of source and target where the model translates.
        size: A key of ``SIZES[name]``; the model's own defaults if left out.
        **options: Keyword arguments of the model, which go before those of the size.

    Returns:
        The model, freshly initialised.

    Raises:
        ValueError: If there is no such model or size; the message holds the nearest names.

    Example:
        >>> build_sequence("opt", 1000, size="tiny", dropout=0.1).dim
        64
    """
    if name not in SEQUENCE_MODELS:
        raise unknown("model", name, SEQUENCE_MODELS)
    sizes = SIZES[name]
    if size is not None and size not in sizes:
        raise unknown("size", size, sizes)
    chosen: dict[str, Any] = {**(sizes[size] if size is not None else {}), **options}
    model: Any = SEQUENCE_MODELS[name]
    return model(*vocabularies, **chosen)
