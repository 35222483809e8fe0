"""Models that say which word comes next in a text: LLaMA's and OPT's manner, and a Lorentz twin."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.manifolds import Lorentz
from hypersst.models.sequence.key_value_cache import KeyValueCache
from hypersst.models.sequence.layer import TransformerLayer
from hypersst.models.sequence.parts import Embedding, EuclideanParts, LorentzParts, Parts
from hypersst.models.sequence.rotary import RotaryPositions
from hypersst.models.sequence.tokens import check_rows
from hypersst.nn.attention_heads import check_heads
from hypersst.nn.shapes import check_channels, check_probability

__all__ = ["OPT", "LanguageModel", "Llama", "LorentzLanguageModel"]

# As GPT-2 and its successors draw weights.
_STD = 0.02


class LanguageModel(nn.Module):
    """A decoder without memory: pre-norm layers, each position seeing itself and what comes before it.

    A subclass says of which parts, and sets the two attributes.

    Args:
        vocab: Number of words.
        dim: Intrinsic dimensions of words and states.
        heads: Number of heads, a divisor of ``dim``; with rotary positions each needs an even number of dimensions.
        layers: Number of layers.
        feedforward: Intrinsic dimensions within the networks; `default_feedforward` if left out.
        dropout: Probability of dropping entries of embeddings, blocks' results and within the networks.
        attention_dropout: Probability of dropping weights of attention.
        max_length: Largest number of positions.
        c: Curvature parameter: the sectional curvature is -c. Of no meaning for Euclidean models.
        learnable_c: Train c; Lorentz only.

    Attributes:
        rotary: Whether positions turn queries and keys, instead of being learned and added.
        tied_head: Whether words are scored by the table that they are looked up in.

    Raises:
        ValueError: If an argument is out of its range.
    """

    rotary: ClassVar[bool] = True
    tied_head: ClassVar[bool] = False
    embedding: Embedding
    head: nn.Module | None

    def __init__(
        self,
        vocab: int,
        dim: int = 256,
        heads: int = 4,
        layers: int = 8,
        feedforward: int | None = None,
        *,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        max_length: int = 1024,
        c: float = 1.0,
        learnable_c: bool = False,
    ) -> None:
        super().__init__()
        feedforward = self.default_feedforward(dim) if feedforward is None else feedforward
        check_channels(vocab=vocab, layers=layers, feedforward=feedforward, max_length=max_length)
        check_heads(dim=dim, heads=heads)
        check_probability(dropout=dropout, attention_dropout=attention_dropout)
        self.dim = dim
        self.max_length = max_length
        parts = self._parts(c, learnable_c)
        rotary = RotaryPositions(dim // heads, max_length) if self.rotary else None
        self.embedding = parts.embedding(vocab, dim, None)
        self.positions = None if self.rotary else parts.positions(dim, max_length, "learned")
        self.dropout = parts.dropout(dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                parts, dim, heads, feedforward, dropout=dropout, attention_dropout=attention_dropout, rotary=rotary
            )
            for _ in range(layers)
        )
        self.norm = parts.norm(dim)
        self.head = None if self.tied_head else parts.head(dim, vocab)

    @classmethod
    def default_feedforward(cls, dim: int) -> int:
        """Dimensions within the networks: 8/3 of ``dim``, rounded up to a multiple of 8."""
        return -(-8 * dim // 24) * 8

    def _parts(self, c: float, learnable_c: bool) -> Parts:
        raise NotImplementedError

    def states(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """States ``(B, T, ambient)`` of tokens ``(B, T)``, see `forward`."""
        check_rows("tokens", tokens)
        start = 0 if cache is None else cache.length
        x = self.embedding(tokens)
        x = self.dropout(x if self.positions is None else self.positions(x, start))
        for number, layer in enumerate(self.layers):
            x = layer(x, causal=True, cache=None if cache is None else cache.layers[number])
        return self.norm(x)

    def logits(self, states: Tensor) -> Tensor:
        """Scores of the words, shape ``(*, vocab)``, from states ``(*, ambient)``."""
        return F.linear(states, self.embedding.weight) if self.head is None else self.head(states)

    def forward(self, tokens: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Scores of each next word.

        Args:
            tokens: Shape ``(B, T)``; with a cache those that come after what it holds.
            cache: What `cache` made; each call adds the positions that it reads.

        Returns:
            Logits, shape ``(B, T, vocab)``.
        """
        return self.logits(self.states(tokens, cache))

    def cache(self, max_length: int | None = None) -> KeyValueCache:
        """An empty cache for up to ``max_length`` tokens; the model's own limit if left out."""
        return KeyValueCache(len(self.layers), self.max_length if max_length is None else max_length)


class _EuclideanLanguageModel(LanguageModel):
    """Draws weights as GPT-2 does."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=_STD)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def _refuse_curvature(self, learnable_c: bool) -> None:
        if learnable_c:
            raise ValueError("`learnable_c` must be False for a Euclidean model, which has no curvature, got True.")


class Llama(_EuclideanLanguageModel):
    """A language model in LLaMA's manner: rotary positions, RMS norm, SwiGLU, no biases, a head of its own.

    Source: Touvron et al. (2023), *LLaMA: Open and Efficient Foundation Language Models*, section 2.2.

    Args:
        *args: As for `LanguageModel`, where all arguments are.
        **kwargs: As for `LanguageModel`.

    Shapes:
        - tokens: ``(B, T)``;
        - output: ``(B, T, vocab)``.

    Example:
        >>> import torch
        >>> Llama(100, dim=16, layers=2)(torch.tensor([[5, 7, 3]])).shape
        torch.Size([1, 3, 100])
    """

    def _parts(self, c: float, learnable_c: bool) -> Parts:
        self._refuse_curvature(learnable_c)
        return EuclideanParts("rms", "swiglu", bias=False)


class OPT(_EuclideanLanguageModel):
    """A language model in OPT's manner: learned positions, layer norm, rectifiers, biases, a tied head.

    Source: Zhang et al. (2022), *OPT: Open Pre-trained Transformer Language Models*, section 2. The published model
    of 350 million parameters alone has its norms after the blocks and narrower embeddings; here all are alike.

    Args:
        *args: As for `LanguageModel`, where all arguments are.
        **kwargs: As for `LanguageModel`.

    Shapes:
        - tokens: ``(B, T)``;
        - output: ``(B, T, vocab)``.

    Example:
        >>> import torch
        >>> OPT(100, dim=16, layers=2)(torch.tensor([[5, 7, 3]])).shape
        torch.Size([1, 3, 100])
    """

    rotary = False
    tied_head = True

    @classmethod
    def default_feedforward(cls, dim: int) -> int:
        """Dimensions within the networks: four times ``dim``."""
        return 4 * dim

    def _parts(self, c: float, learnable_c: bool) -> Parts:
        self._refuse_curvature(learnable_c)
        return EuclideanParts("layer", "relu")


class LorentzLanguageModel(LanguageModel):
    """`Llama` on the Lorentz manifold: distance attention of turned points, norms and SwiGLU of the space part.

    Sources: Chen et al. (2022), *Fully Hyperbolic Neural Networks*; He et al. (2025), *HELM: Hyperbolic Large Language
    Models via Mixture-of-Curvature Experts*, for rotations, norm and SwiGLU. Departures from the latter: gated linear
    maps, distances to prototypes as scores, the unweighted centroid as residual connection, one curvature.

    Args:
        *args: As for `LanguageModel`, where all arguments are.
        **kwargs: As for `LanguageModel`.

    Shapes:
        - tokens: ``(B, T)``;
        - output: ``(B, T, vocab)``.

    Example:
        >>> import torch
        >>> LorentzLanguageModel(100, dim=16, layers=2)(torch.tensor([[5, 7, 3]])).shape
        torch.Size([1, 3, 100])
    """

    def _parts(self, c: float, learnable_c: bool) -> Parts:
        return LorentzParts(Lorentz(c, learnable=learnable_c), "rms", "swiglu", bias=False)
