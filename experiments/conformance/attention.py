"""Attention and Transformer layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hypersst.experiments.conformance.case import ROWS, LayerCase, Reading
from hypersst.experiments.conformance.points import points
from hypersst.manifolds import Lorentz
from hypersst.nn import (
    LorentzLinearAttention,
    LorentzMultiheadAttention,
    LorentzTransformerDecoderLayer,
    LorentzTransformerEncoderLayer,
)

__all__ = ["CASES"]

DIM, HEADS, BATCH, KEYS, KEY_DIM, VALUE_DIM, WIDTH = 8, 2, 3, 5, 2, 4, 7


class _Causal(Reading):
    """Attention in which no row sees a later one."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.read(self.layer(*inputs, is_causal=True))


def _first(result: Any) -> Tensor:
    return result[0]


def _all(result: Any) -> Tensor:
    return result


def _sequences(module: Any, dtype: torch.dtype, *shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    found = (points(module.manifold, *shape, seed=seed) for seed, shape in enumerate(shapes))
    with torch.no_grad():
        return tuple(module.manifold.projx(x.to(dtype)) for x in found)


def _one(module: Any, dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _sequences(module, dtype, (ROWS, DIM))


def _two(module: Any, dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _sequences(module, dtype, (ROWS, DIM), (ROWS, DIM))


def _three(module: Any, dtype: torch.dtype) -> tuple[Tensor, ...]:
    return _one(module, dtype) * 3


def _other_sizes(module: Any, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """A batch of queries, and keys and values of other numbers and dimensions."""
    return _sequences(module, dtype, (ROWS, BATCH, DIM), (KEYS, BATCH, KEY_DIM), (KEYS, BATCH, VALUE_DIM))


def case(name: str, build: Callable[..., nn.Module], inputs: Callable[..., Any], *batch: int) -> LayerCase:
    """A layer from sequences of points to one as long as the first of them."""
    return LayerCase(
        name,
        lambda c: build(manifold=Lorentz(c)),
        inputs,
        (ROWS, *batch, DIM + 1),
        claims=frozenset({"spectral", "export"}),
    )


def multihead(name: str, wrapper: type[Reading], inputs: Callable[..., Any], *batch: int, **options: Any) -> LayerCase:
    """Attention whose weights are not looked at."""
    return case(
        name,
        lambda **on: wrapper(LorentzMultiheadAttention(DIM, HEADS, **options, **on), _first),
        inputs,
        *batch,
    )


def transformer(name: str, kind: type, inputs: Callable[..., Any], **options: Any) -> LayerCase:
    """A Transformer layer without dropout, so that two calls agree."""
    return case(name, partial(kind, DIM, HEADS, WIDTH, dropout=0.0, **options), inputs)


CASES = [
    multihead("multihead-attention", Reading, _three),
    multihead(
        "multihead-attention-sizes", Reading, _other_sizes, BATCH, kdim=KEY_DIM, vdim=VALUE_DIM, time="recomputed"
    ),
    multihead("multihead-attention-causal", _Causal, _three, bias=False, time="hyperplane"),
    case("linear-attention", partial(LorentzLinearAttention, DIM, HEADS), _three),
    case(
        "linear-attention-causal",
        lambda **on: _Causal(LorentzLinearAttention(DIM, HEADS, power=3.0, **on), _all),
        _three,
    ),
    transformer("transformer-encoder", LorentzTransformerEncoderLayer, _one),
    transformer("transformer-encoder-norm-first", LorentzTransformerEncoderLayer, _one, norm_first=True),
    transformer("transformer-decoder", LorentzTransformerDecoderLayer, _two),
    transformer("transformer-decoder-norm-first", LorentzTransformerDecoderLayer, _two, norm_first=True),
]
