"""Encoder and decoder for translation, Euclidean and Lorentz."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hypersst.manifolds import Lorentz
from hypersst.models.sequence.key_value_cache import KeyValueCache
from hypersst.models.sequence.layer import TransformerLayer
from hypersst.models.sequence.masks import padding
from hypersst.models.sequence.parts import Embedding, EuclideanParts, LorentzParts, Parts
from hypersst.models.sequence.tokens import check_pad, check_rows
from hypersst.nn.attention_heads import check_heads
from hypersst.nn.shapes import check_channels, check_probability

__all__ = ["EncoderDecoder", "LorentzTransformer", "Transformer"]


class EncoderDecoder(nn.Module):
    """Reads a source and says which word comes next in the target; a subclass says of which parts.

    Rows are filled up on the right with ``pad``. That changes no score of a real position: in the source it is hidden,
    in the target it comes after.

    Args:
        source_vocab: Number of source words.
        target_vocab: Number of target words.
        dim: Intrinsic dimensions of words and states.
        heads: Number of heads, a divisor of ``dim``.
        encoder_layers: Layers of the encoder.
        decoder_layers: Layers of the decoder.
        feedforward: Intrinsic dimensions within the networks.
        dropout: Probability of dropping entries of embeddings, blocks' results and within the networks.
        attention_dropout: Probability of dropping weights of attention.
        norm_first: Norms before the blocks, and one at the end, instead of after the residual connections.
        shared_embedding: One table for source and target, whose vocabularies are then one.
        tied_head: Score words by the target's table; Euclidean only.
        max_length: Largest number of positions.
        pad: The token that fills rows up.
        c: Curvature parameter: the sectional curvature is -c. Of no meaning for the Euclidean model.
        learnable_c: Train c; Lorentz only.

    Raises:
        ValueError: If an argument is out of its range or contradicts another.
    """

    source_embedding: Embedding
    target_embedding: Embedding | None
    head: nn.Module | None

    def __init__(
        self,
        source_vocab: int,
        target_vocab: int,
        dim: int = 64,
        heads: int = 4,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        feedforward: int = 256,
        *,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        norm_first: bool = True,
        shared_embedding: bool = False,
        tied_head: bool = False,
        max_length: int = 512,
        pad: int = 0,
        c: float = 1.0,
        learnable_c: bool = False,
    ) -> None:
        super().__init__()
        check_channels(source_vocab=source_vocab, target_vocab=target_vocab, max_length=max_length)
        check_channels(encoder_layers=encoder_layers, decoder_layers=decoder_layers, feedforward=feedforward)
        check_heads(dim=dim, heads=heads)
        check_probability(dropout=dropout, attention_dropout=attention_dropout)
        check_pad(pad, source_vocab=source_vocab, target_vocab=target_vocab)
        if shared_embedding and source_vocab != target_vocab:
            raise ValueError(
                f"`target_vocab` must be `source_vocab` = {source_vocab} to share one embedding, got {target_vocab}."
            )
        self.dim = dim
        self.pad = pad
        self.max_length = max_length
        parts = self._parts(c, learnable_c, tied_head)
        self.source_embedding = parts.embedding(source_vocab, dim, pad)
        # Registered once: a module under two names would be saved twice.
        self.target_embedding = None if shared_embedding else parts.embedding(target_vocab, dim, pad)
        self.positions = parts.positions(dim, max_length, "sinusoidal")
        self.dropout = parts.dropout(dropout)

        def stack(layers: int, memory: bool) -> nn.ModuleList:
            return nn.ModuleList(
                TransformerLayer(
                    parts,
                    dim,
                    heads,
                    feedforward,
                    dropout=dropout,
                    attention_dropout=attention_dropout,
                    norm_first=norm_first,
                    memory=memory,
                )
                for _ in range(layers)
            )

        self.encoder = stack(encoder_layers, memory=False)
        self.decoder = stack(decoder_layers, memory=True)
        self.encoder_norm = parts.norm(dim) if norm_first else nn.Identity()
        self.decoder_norm = parts.norm(dim) if norm_first else nn.Identity()
        self.head = None if tied_head else parts.head(dim, target_vocab)

    def _parts(self, c: float, learnable_c: bool, tied_head: bool) -> Parts:
        raise NotImplementedError

    @property
    def _target_table(self) -> Embedding:
        return self.source_embedding if self.target_embedding is None else self.target_embedding

    def padding(self, source: Tensor) -> Tensor:
        """Where rows of tokens ``(B, S)`` are filled up, true there, in the shape that `decode` wants."""
        return padding(source, self.pad)

    def encode(self, source: Tensor) -> Tensor:
        """Read source tokens ``(B, S)``, to a memory ``(B, S, ambient)``."""
        check_rows("source", source)
        hidden = self.padding(source)
        x = self.dropout(self.positions(self.source_embedding(source), 0))
        for layer in self.encoder:
            x = layer(x, hidden)
        return self.encoder_norm(x)

    def decode(
        self,
        target_in: Tensor,
        memory: Tensor | None,
        source_padding: Tensor | None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Read target tokens, given a memory.

        Args:
            target_in: Tokens so far, shape ``(B, T)``; with a cache those that come after what it holds.
            memory: What `encode` returned, shape ``(B, S, ambient)``; not asked for once the cache has read it.
            source_padding: What `padding` says of the source; ``None`` if nothing is filled up.
            cache: What `cache` made; each call adds the positions that it reads.

        Returns:
            States, shape ``(B, T, ambient)``, each of its own and earlier positions.
        """
        check_rows("target_in", target_in)
        start = 0 if cache is None else cache.length
        x = self.dropout(self.positions(self._target_table(target_in), start))
        for number, layer in enumerate(self.decoder):
            held = None if cache is None else cache.layers[number]
            x = layer(x, causal=True, memory=memory, memory_hidden=source_padding, cache=held)
        return self.decoder_norm(x)

    def logits(self, states: Tensor) -> Tensor:
        """Scores of the target's words, shape ``(*, target_vocab)``, from states ``(*, ambient)``."""
        return F.linear(states, self._target_table.weight) if self.head is None else self.head(states)

    def forward(self, source: Tensor, target_in: Tensor) -> Tensor:
        """Scores of each next word.

        Args:
            source: Tokens, shape ``(B, S)``.
            target_in: Tokens, shape ``(B, T)``, the first of which begins the sentence.

        Returns:
            Logits, shape ``(B, T, target_vocab)``; `torch.nn.functional.cross_entropy` with ``ignore_index=pad`` and
            ``label_smoothing`` makes the usual loss of them.
        """
        return self.logits(self.decode(target_in, self.encode(source), self.padding(source)))

    def cache(self, max_length: int | None = None) -> KeyValueCache:
        """An empty cache for decoding up to ``max_length`` tokens; the model's own limit if left out."""
        return KeyValueCache(len(self.decoder), self.max_length if max_length is None else max_length)


class Transformer(EncoderDecoder):
    """The Transformer of Vaswani et al., with norms before (pre-norm) or after the blocks.

    Weights are drawn by Glorot and Bengio's rule, embeddings with variance ``1 / dim``.

    Sources: Vaswani et al. (2017), *Attention Is All You Need*; Xiong et al. (2020), *On Layer Normalization in the
    Transformer Architecture*, for pre-norm. Departure: the three tables of words are shared only where told.

    Args:
        *args: As for `EncoderDecoder`, where all arguments are.
        **kwargs: As for `EncoderDecoder`.

    Shapes:
        - source: ``(B, S)``, target_in: ``(B, T)``;
        - output: ``(B, T, target_vocab)``.

    Example:
        >>> import torch
        >>> model = Transformer(100, 120, dim=16, encoder_layers=2, decoder_layers=2, feedforward=32)
        >>> model(torch.tensor([[5, 7, 3]]), torch.tensor([[2, 9]])).shape
        torch.Size([1, 2, 120])
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.dim**-0.5)
                module._fill_padding_idx_with_zero()

    def _parts(self, c: float, learnable_c: bool, tied_head: bool) -> Parts:
        if learnable_c:
            raise ValueError("`learnable_c` must be False for a Euclidean model, which has no curvature, got True.")
        return EuclideanParts()


class LorentzTransformer(EncoderDecoder):
    """HyboNet's Transformer on the Lorentz manifold, see `LorentzParts`; its sizes count intrinsic dimensions.

    Manifold parameters (the words' points and prototypes) want a Riemannian optimizer; all others are Euclidean.

    Source: Chen et al. (2022), *Fully Hyperbolic Neural Networks*, section 4.3.

    Args:
        *args: As for `EncoderDecoder`, where all arguments are.
        **kwargs: As for `EncoderDecoder`.

    Shapes:
        - source: ``(B, S)``, target_in: ``(B, T)``;
        - output: ``(B, T, target_vocab)``.

    Example:
        >>> import torch
        >>> model = LorentzTransformer(100, 120, dim=16, encoder_layers=2, decoder_layers=2, feedforward=32)
        >>> model(torch.tensor([[5, 7, 3]]), torch.tensor([[2, 9]])).shape
        torch.Size([1, 2, 120])
    """

    def _parts(self, c: float, learnable_c: bool, tied_head: bool) -> Parts:
        if tied_head:
            raise ValueError(
                "`tied_head` must be False for a Lorentz model, whose words begin one unit from the origin and whose "
                "prototypes begin near it, got True."
            )
        return LorentzParts(Lorentz(c, learnable=learnable_c))
