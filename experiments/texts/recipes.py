"""Which settings a model of texts starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["text_recipe"]

_TRANSLATION: Mapping[str, Any] = {
    "vocabulary": 4000,
    "dim": 64,
    "heads": 4,
    "layers": 3,
    "norm_first": True,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "steps": 3000,
    "tokens": 2048,
    "length": 1,
    "eval_every": 250,
    "average": 5,
    "lr": 5e-3,
    "schedule": "noam",
    "lr_warmup": 300,
    "betas": (0.9, 0.98),
    "weight_decay": 0.0,
    "grad_clip": 1.0,
    "label_smoothing": 0.1,
}

_LANGUAGE: Mapping[str, Any] = {
    "vocabulary": 8000,
    "dim": 256,
    "heads": 4,
    "layers": 6,
    "norm_first": True,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "steps": 5000,
    "tokens": 8192,
    "length": 256,
    "eval_every": 250,
    "average": 1,
    "lr": 2e-3,
    "schedule": "cosine",
    "lr_warmup": 250,
    "betas": (0.9, 0.95),
    "weight_decay": 0.1,
    "grad_clip": 1.0,
    "label_smoothing": 0.0,
}

_METHODS: Mapping[str, Any] = {
    "steps_per_iteration": 50,
    "warmup_steps": 10,
    "decomposition": "1",
    "galore_scale": 1.0,
}


def text_recipe(model: str, dim: int | None) -> dict[str, Any]:
    """Every setting that has a recommended value: first guesses, the same for every text and method.

    Args:
        model: Name of a model.
        dim: The dimensions that were asked for; ``None`` for the recipe's.
    """
    recipe = {**_METHODS, **(_TRANSLATION if "transformer" in model else _LANGUAGE)}
    width = dim or recipe["dim"]
    if model == "llama":  # three matrices instead of two (Shazeer 2020), as many numbers
        recipe["feedforward"] = -(-8 * width // (3 * 8)) * 8
    else:
        recipe["feedforward"] = 4 * width
    recipe["vector_lr"] = recipe["sigma_lr"] = recipe["lr"]
    return recipe
