"""Small sequence models and texts for the tests of `hypersst.models.sequence`."""

from __future__ import annotations

from functools import cache

import geoopt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.experiments.conformance.points import shake
from hypersst.models.sequence import build_sequence

__all__ = [
    "TRANSFORMERS",
    "WRITERS",
    "make_transformer",
    "make_writer",
    "pairs",
    "riemannian",
    "texts",
    "train_to_copy",
]

TRANSFORMERS = ("transformer", "lorentz-transformer")
WRITERS = ("llama", "opt", "lorentz-llama")


def make_transformer(name: str, words: int = 11, seed: int = 0, **options) -> nn.Module:
    """A transformer in evaluation mode, in float64 unless ``double=False``, with biases that are not zero."""
    return _made(name, (words + 2, words), {**_SIZES, "encoder_layers": 2, "decoder_layers": 2}, seed, options)


def make_writer(name: str, words: int = 11, seed: int = 0, **options) -> nn.Module:
    """A language model, likewise."""
    return _made(name, (words,), {**_SIZES, "layers": 2}, seed, options)


_SIZES = {"dim": 8, "heads": 2, "feedforward": 12, "max_length": 16}


def _made(name: str, words: tuple[int, ...], sizes: dict[str, int], seed: int, options: dict[str, object]) -> nn.Module:
    double = options.pop("double", True)
    if options.get("shared_embedding"):
        words = words[:1] * 2
    torch.manual_seed(seed)
    model = build_sequence(name, *words, **{**sizes, **options}).eval()
    shake(model)
    return model.double() if double else model


def texts(rows: int = 3, length: int = 7, words: int = 11, seed: int = 0) -> Tensor:
    """Rows of words that are neither padding nor marks, shape ``(rows, length)``."""
    return torch.randint(4, words, (rows, length), generator=torch.Generator().manual_seed(seed))


def pairs(rows: int = 4, words: int = 11, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of unequal length to be copied: source, target with the beginning, target with the end."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(4, words, (rows, 6), generator=generator)
    length = torch.randint(2, 7, (rows, 1), generator=generator)
    source = source.masked_fill(torch.arange(6) >= length, 0)
    begun = torch.cat((torch.full((rows, 1), 2), source), dim=1)
    ended = torch.cat((source, torch.zeros(rows, 1, dtype=torch.int64)), dim=1).scatter(1, length, 3)
    return source, begun, ended


def riemannian(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """An Adam that knows manifolds."""
    return geoopt.optim.RiemannianAdam(model.parameters(), lr=lr)


@cache
def copier(name: str) -> nn.Module:
    """A transformer that has half learned to copy, in float64, for tests that leave it as it is."""
    sizes = {"dim": 16, "feedforward": 32, "encoder_layers": 1, "decoder_layers": 1}
    model = make_transformer(name, double=False, **sizes)
    train_to_copy(model, 70, lr=0.02, rows=16)
    return model.double()


def train_to_copy(model: nn.Module, steps: int, lr: float = 0.01, rows: int = 32) -> list[float]:
    """Train a transformer of 11 words, or a language model, to copy; returns the losses."""
    optimizer = riemannian(model, lr)
    losses = []
    for step in range(steps):
        source, begun, ended = pairs(rows, seed=step)
        loss = F.cross_entropy(model(source, begun).flatten(0, 1), ended.flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
