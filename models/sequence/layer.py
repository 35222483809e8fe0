"""A Transformer layer for both geometries, as encoder, as decoder, and with a cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from hypersst.models.sequence.attention import Attention
from hypersst.models.sequence.key_value_cache import KeysAndValues, LayerCache
from hypersst.models.sequence.parts import Parts
from hypersst.models.sequence.rotary import RotaryPositions
from hypersst.nn.shapes import check_probability

__all__ = ["TransformerLayer"]


class TransformerLayer(nn.Module):
    r"""Self-attention, perhaps attention to a memory, and a feed-forward network, each with a residual connection.

    With :math:`\oplus` the sum or the Lorentz centroid a block f makes of x

    .. math:: x \oplus f(\operatorname{norm} x) \quad\text{(pre-norm)} \qquad\text{or}\qquad
        \operatorname{norm}(x \oplus f(x)) \quad\text{(post-norm).}

    Of `EuclideanParts` it is `torch.nn.TransformerEncoderLayer` or `torch.nn.TransformerDecoderLayer`, of
    `LorentzParts` `hypersst.nn.LorentzTransformerEncoderLayer` or its decoder; torch's signature, which those share,
    has no place for a cache, and the residual connections of the latter two are not learned.

    Sources: Vaswani et al. (2017), *Attention Is All You Need*; Xiong et al. (2020), *On Layer Normalization in the
    Transformer Architecture*, for pre-norm.

    Args:
        parts: Where the modules come from.
        dim: Intrinsic dimensions.
        heads: Number of heads, a divisor of ``dim``.
        feedforward: Intrinsic dimensions within the network.
        dropout: Probability of dropping entries of each block's result, and within the network.
        attention_dropout: Probability of dropping weights of attention.
        norm_first: Pre-norm instead of post-norm.
        memory: Whether there is attention to a memory.
        rotary: What turns queries and keys of self-attention by their positions.

    Raises:
        ValueError: If a size is not positive, ``heads`` does not divide ``dim`` or a probability is none.

    Example:
        >>> import torch
        >>> from hypersst.models.sequence.parts import EuclideanParts
        >>> TransformerLayer(EuclideanParts(), 16, 4, 32)(torch.randn(2, 5, 16), causal=True).shape
        torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        parts: Parts,
        dim: int,
        heads: int,
        feedforward: int,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        norm_first: bool = True,
        memory: bool = False,
        rotary: RotaryPositions | None = None,
    ) -> None:
        super().__init__()
        check_probability(dropout=dropout, attention_dropout=attention_dropout)
        self.norm_first = norm_first
        self.self_attn = parts.attention(dim, heads, attention_dropout, rotary)
        self.norm1, self.residual1 = parts.norm(dim), parts.residual(norm_first)
        self.cross_attn = parts.attention(dim, heads, attention_dropout, None) if memory else None
        self.norm2 = parts.norm(dim) if memory else None
        self.residual2 = parts.residual(norm_first) if memory else None
        self.feed_forward = parts.feed_forward(dim, feedforward, dropout)
        self.norm3, self.residual3 = parts.norm(dim), parts.residual(norm_first)
        self.dropout = parts.dropout(dropout)

    def forward(
        self,
        x: Tensor,
        hidden: Tensor | None = None,
        causal: bool = False,
        memory: Tensor | None = None,
        memory_hidden: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Map a sequence.

        Args:
            x: Points, shape ``(B, L, ambient)``; with a cache those that come after what it holds.
            hidden: True where a query must not see a key, broadcastable to ``(B, H, L, L)``.
            causal: Let no position see later ones.
            memory: Points that a layer with memory attends to, shape ``(B, S, ambient)``; with a cache they are read
                once.
            memory_hidden: True where a query must not see a point of the memory, broadcastable to ``(B, H, L, S)``.
            cache: Keys and values of earlier positions; this call adds its own.

        Returns:
            Points, the shape of ``x``.
        """
        start = 0 if cache is None else cache.length

        def attend(x: Tensor) -> Tensor:
            known = self.self_attn.keys_and_values(x, start)
            known = known if cache is None else cache.append(*known)
            return self.self_attn(x, known, hidden, causal, start)

        x = self._connect(x, attend, self.norm1, self.residual1)
        if self.cross_attn is not None and self.norm2 is not None and self.residual2 is not None:
            recall = partial(
                self.cross_attn, known=self._recalled(self.cross_attn, memory, cache), hidden=memory_hidden
            )
            x = self._connect(x, recall, self.norm2, self.residual2)
        return self._connect(x, self.feed_forward, self.norm3, self.residual3)

    def _recalled(self, attention: Attention, memory: Tensor | None, cache: LayerCache | None) -> KeysAndValues:
        """Keys and values of the memory, computed once where there is a cache."""
        if cache is not None and cache.memory is not None:
            return cache.memory
        if memory is None:
            raise ValueError("`memory` must be given to a layer that attends to one, got None.")
        known = attention.keys_and_values(memory)
        if cache is not None:
            cache.memory = known
        return known

    def _connect(self, x: Tensor, block: Callable[[Tensor], Tensor], norm: nn.Module, residual: nn.Module) -> Tensor:
        """Put norm, dropout and residual connection around a block."""
        if self.norm_first:
            return residual(x, self.dropout(block(norm(x))))
        return norm(residual(x, self.dropout(block(x))))

    def extra_repr(self) -> str:
        """Where the norms stand."""
        return f"norm_first={self.norm_first}"
